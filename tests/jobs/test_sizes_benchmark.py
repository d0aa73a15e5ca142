import io
import json

import numpy as np
import pytest
from PIL import Image

from jobs.bench import bench
from jobs.benchmarks import BENCHMARKS, Setting
from jobs.benchmarks.table import show
from pipeline import RunConfig, read_maps, run
from sess_kernels.errors import SessError

TINY = """
from torch import nn


def make():
    body = [nn.Conv2d(3, 8, 9, stride=8), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
"""


@pytest.fixture
def make(tmp_path, draw, monkeypatch):
    (tmp_path / "photos").mkdir()
    for seed in range(2):
        Image.fromarray(draw(60, 90, seed)).save(tmp_path / "photos" / f"{seed}.png")
    (tmp_path / "tiny_sizes.py").write_text(TINY)
    monkeypatch.syspath_prepend(str(tmp_path))

    def made(**settings):
        config = RunConfig(
            backbone="tiny_sizes:make", engine="local", scales=2, labels="predicted", **settings
        )
        run(str(tmp_path / "photos"), tmp_path / "out", config)
        return str(tmp_path / "out")

    return made


def test_sizes_of_a_run(make, capsys):
    out = make(map_dtype="float32")
    rows = list(BENCHMARKS["sizes"](Setting(source=out)))
    found = {row["what"]: row for row in rows}
    assert {(row["maps"], row["measured_on"]) for row in rows} == {(2, "float32")}
    raw = found["float32, stride 1"]
    assert (raw["bytes_per_map"], raw["share_of_float32"]) == (60 * 90 * 4, 1)
    assert (raw["max_error"], raw["box_iou"]["mean"]) == (0, 1)
    assert found["float16, stride 4"]["bytes_per_map"] == 15 * 23 * 2
    assert found["uint8, stride 1"]["max_error"] <= 0.5 / 255 + 1e-6
    assert found["uint16, stride 1"]["max_error"] <= 0.5 / 65535 + 1e-6
    assert found["uint8, stride 8"]["mean_error"] > found["uint8, stride 2"]["mean_error"] > 0
    packed = []
    for record in read_maps(out):
        file = io.BytesIO()
        np.savez_compressed(file, map=record.map)
        packed.append(len(file.getvalue()))
    assert found["np.savez_compressed of float32"]["bytes_per_map"] == np.mean(packed)
    assert found["np.savez_compressed of float32"]["max_error"] == 0
    best, fast = (found[f"uint8, PNG of zlib level {level}"] for level in (9, 1))
    assert best["bytes_per_map"] < fast["bytes_per_map"]
    assert best["max_error"] == fast["max_error"] == found["uint8, stride 1"]["max_error"]
    show(rows)
    assert "IoU of boxes" in " ".join(capsys.readouterr().out.split())


def test_a_run_that_has_lost_too_much_is_no_measure(make):
    with pytest.raises(SessError, match="have lost too much to compare with"):
        BENCHMARKS["sizes"](Setting(source=make()))


def test_sizes_of_photographs(tmp_path, make, monkeypatch):
    monkeypatch.setattr("jobs.benchmarks.sizes._STRIDES", (1,))
    monkeypatch.setattr("jobs.benchmarks.sizes._LEVELS", (3,))
    setting = Setting("timm/test_resnet", scales=1, images=1, source=str(tmp_path / "photos"))
    rows = list(BENCHMARKS["sizes"](setting))
    assert {(row["maps"], row["measured_on"]) for row in rows} == {(1, "float32")}


def test_the_dataset_beside_decoding_alone(monkeypatch, make, tmp_path):
    monkeypatch.setattr("jobs.benchmarks.dataset._MAPS", 64)
    monkeypatch.setattr("jobs.benchmarks.dataset._FILES", 3)
    assert bench(what=("dataset",), source=make(), repeats=1, out=tmp_path / "found.json") == 0
    [row] = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert row["maps"] == 64
    rate, floor = row["maps_per_s"]["median"], row["against_maps_per_s"]["median"]
    assert row["ratio"]["median"] == pytest.approx(floor / rate)
    assert row["cpu_ms_per_map"] > 0

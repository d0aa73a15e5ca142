"""``sess plan``, ``status``, ``retry``, and ``run`` again."""

import json
import re
from dataclasses import asdict, fields

import pytest

from jobs.cli import main
from jobs.plan import _memory
from pipeline.estimate import Estimate
from pipeline.read import read_rows
from sess_kernels import SESS, SESSConfig
from sess_kernels.footprint import Footprint, footprint

LOCAL = ["--engine", "local", "--scales", "1", "--device", "cpu", "--labels", "predicted"]


@pytest.fixture
def said(capsys):
    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_plan_tells_what_a_run_takes_and_the_run_goes_on_with_it(said, photo_folder, tmp_path):
    out = tmp_path / "o"
    ratio = ("--pre-filter-ratio", "0.5")
    code, text, _ = said("plan", photo_folder, "--out", out, *LOCAL, *ratio)
    assert code == 0
    assert re.search(r"images +│ 6 \(1 cannot be explained\)", text)
    found = json.loads(said("plan", photo_folder, "--out", out, *LOCAL, *ratio, "--json")[1])
    assert said("run", photo_folder, "--out", out, *LOCAL, *ratio, "--quiet")[0] == 1
    rows = list(read_rows(out))
    planned = {
        row["image_id"]: row for row in rows if row["status"] == "ok" or "cut" in row["image_id"]
    }
    assert found["images"] == len(rows) == 6
    assert found["sampled"] == 4  # the one that is cut short fails in the calibration too
    scored = sum(row["n_patches"] for row in rows)
    kept = sum(row["targets"][0]["n_kept"] for row in rows if row["targets"])
    cut = found["patches"] - scored  # planned by its header
    assert len(planned) == 5
    assert 0 < cut == 2 * (found["kept"] - kept)
    stored = sum(len(row["targets"][0]["map"]["bytes"]) for row in rows if row["targets"])
    assert stored / 4 < found["bytes"] < 4 * stored
    sizes = [(300, 451)] * 2 + [(100, 150), (60, 90), (80, 120)]  # one shard; one is no image
    memory = footprint(SESS("lite0", config=SESSConfig(scales=1)), sizes)
    assert found["footprint"] == asdict(memory)
    assert found["device_memory"] == memory.total
    assert (found["batch_size"], found["device_free"]) == (4, None)
    told = r"memory of a worker at least [\d.]+ MB beside its start: weights [\d.]+ MB, forward"
    assert re.search(told, " ".join(text.replace("│", " ").split()))
    assert found["device_hours"] * 3.6e6 == pytest.approx(found["ms_per_patch"] * found["patches"])


def test_plan_says_what_memory_is_for_and_what_to_do_about_it():
    parts = Footprint(2_000_000, 6_000_000, 10_000_000, 2_000_000)
    rest = {one.name: 0 for one in fields(Estimate)} | {"device": "GPU", "footprint": parts}
    rest |= {"device_memory": parts.total, "batch_size": 128}
    fits, full, alone = (
        _memory(Estimate(**rest | changes))
        for changes in (
            {"device_free": 30_000_000},
            {"device_free": 19_000_000},
            {"device_free": 19_000_000, "batch_size": 1},
        )
    )
    assert fits == (
        "at least 20 MB a worker: weights 2 MB, forward of 128 patches 6 MB, "
        "kept patches and features 10 MB, images and maps 2 MB; 30 MB are free"
    )
    assert full.endswith(
        "; more than the 19 MB that are free: give a smaller device batch, --batch-size 64 say"
    )
    assert "no device batch is smaller" in alone


def test_status_of_a_run(said, photo_folder, tmp_path):
    out = tmp_path / "o"
    said("run", photo_folder, "--out", out, *LOCAL, "--quiet")
    code, text, _ = said("status", out)
    assert code == 0
    assert re.search(r"state +│ complete", text)
    assert "6 of 6 images" in text
    assert "failed: cut.jpg: " in text
    found = json.loads(said("status", out, "--json")[1])
    assert (found["done"], found["failed"], found["left"], found["driver"]) == (6, 2, 0, None)
    assert said("status", tmp_path)[0] == 2


def test_run_again_and_retry(said, photo_folder, tmp_path):
    out = tmp_path / "o"
    assert said("run", photo_folder, "--out", out, *LOCAL, "--quiet")[0] == 1
    code, text, _ = said("run", photo_folder, "--out", out, *LOCAL)
    assert code == 1  # its failed rows are still there
    assert "complete already" in text
    whole = (photo_folder / "cat.jpg").read_bytes()
    for name in ("cut.jpg", "not.jpg"):
        (photo_folder / name).write_bytes(whole)
    code, text, _ = said("retry", out)
    assert code == 0
    assert re.search(r"images +│ 6 \(0 failed, 4 of an earlier run\)", text)
    code, _, error = said("run", photo_folder, "--out", out, *LOCAL, "--top-k", "2")
    assert code == 2
    assert "top_k 2 (was 1)" in error

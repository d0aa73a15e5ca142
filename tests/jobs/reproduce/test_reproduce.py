import json

import numpy as np
import pytest
import torch
from PIL import Image

import jobs.reproduce
from jobs.reproduce import pictures, quality, reproduce
from jobs.reproduce.experiment import Experiment, Method, Network, Run, Vary
from jobs.reproduce.settings import ReproduceConfig
from pipeline.evaluation import read_evaluations
from pipeline.read import read_maps
from sess_kernels import PatchSaliency, SESSConfig, SessError, fuse_patches

BASE = Run("without SESS", {"scales": 0})
SESS = Run(
    "SESS",
    {"scales": 2, "keep_patches": True},
    against="without SESS",
    vary=Vary("scales", "number of scales", (1, 2)),
)
ALL = {"paper": "Figure 5", "backbones": (Network("lite0"),), "methods": (Method("gradcam"),)}
CURVE = Experiment(
    "fig5", "Scales", **ALL, runs=(BASE, SESS), metrics=("pointing",), images=3, tolerance=2
)


@pytest.fixture
def data(tmp_path, draw):
    """Three drawn images with a label and a box each."""
    for number in range(3):
        Image.fromarray(draw(40, 40 + number, seed=number)).save(tmp_path / f"{number}.png")
    labels = "".join(f"{number}.png,{number}\n" for number in range(3))
    (tmp_path / "list.csv").write_text(f"image,label\n{labels}")
    boxes = "".join(f"{number}.png,{number},0,0,20,40\n" for number in range(3))
    (tmp_path / "boxes.csv").write_text(f"image,label,x0,y0,x1,y1\n{boxes}")
    return {"data": (f"{tmp_path}/list.csv",), "truth": (f"table:{tmp_path}/boxes.csv",)}


@pytest.fixture
def curve(monkeypatch):
    monkeypatch.setattr(jobs.reproduce, "read_experiment", lambda name: CURVE)


def test_a_figure_from_images_to_table_and_plot(data, curve, tiny_backbone, tmp_path, capsys):
    out = tmp_path / "out"
    backbones = (tiny_backbone, "small_net:nothing")
    given = ReproduceConfig(**data, backbone=backbones, engine="local", workers=1, out=str(out))
    assert reproduce("fig5", settings=given, quiet=True) == 1  # one backbone is not there
    assert capsys.readouterr().out == ""
    result = json.loads((out / "fig5.json").read_text())
    *rows, no_base, no_sess = result["rows"]
    assert "has no attribute 'nothing'" in no_base["error"] == no_sess["error"]
    assert [row["variant"] for row in rows] == ["", "scales = 1", "scales = 2"]
    assert [row["images"] for row in rows] == [3, 3, 3]
    values = [row["figures"]["pointing"]["value"] for row in rows]
    for row, value in zip(rows[1:], values[1:], strict=True):
        assert row["gain"]["pointing"]["value"] == pytest.approx(value - values[0])
    _check_pointing(out, values)
    with Image.open(out / "fig5.png") as plot:
        assert np.asarray(plot).std() > 1
    assert result["pictures"] == ["fig5.png"]
    assert "Paired difference from without SESS" in (out / "fig5.md").read_text()


def _check_pointing(out, values):
    """Hits by hand: the largest value lies in the left half, or two pixels from it."""
    runs = [run for run in (out / "runs").iterdir() if "nothing" not in run.name]
    wanted = []
    for run in runs:
        hits = [np.argmax(one.map) % one.map.shape[1] < 20 + 2 for one in read_maps(run)]
        wanted.append(np.mean(hits))
    assert sorted(wanted) == sorted([values[0], values[2]])
    assert len(list((out / "judged").iterdir())) == 2
    assert all(read_evaluations(one) for one in (out / "judged").iterdir())


def test_what_is_done_is_not_done_again(data, curve, tiny_backbone, tmp_path, monkeypatch):
    given = {**data, "backbone": (tiny_backbone,), "engine": "local", "workers": 1}
    given["out"] = str(tmp_path / "out")
    assert reproduce("fig5", settings=ReproduceConfig(**given), quiet=True) == 0
    first = json.loads((tmp_path / "out" / "fig5.json").read_text())

    def fails(*_, **__):
        raise SessError("it ran again")

    monkeypatch.setattr(quality, "run_pipeline", fails)
    assert reproduce("fig5", settings=ReproduceConfig(**given), quiet=True) == 0
    assert json.loads((tmp_path / "out" / "fig5.json").read_text())["rows"] == first["rows"]
    assert reproduce("fig5", settings=ReproduceConfig(**given, limit=2), quiet=True) == 1
    rows = json.loads((tmp_path / "out" / "fig5.json").read_text())["rows"]
    assert [row["error"] for row in rows] == ["it ran again"] * 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": (), "truth": ()}, "fig5 needs photographs with labels; give --data"),
        ({"data": ("nowhere",)}, "nowhere does not exist"),
        ({"truth": ()}, "pointing of .*list.csv needs boxes or masks; give --truth"),
        ({"truth": ("table:nowhere.csv",)}, "nowhere.csv"),
        ({"metric": ("pointin",)}, "unknown metric 'pointin'; did you mean 'pointing'"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_runs(
    data, curve, tiny_backbone, tmp_path, change, said
):
    out = tmp_path / "out"
    given = {**data, "backbone": (tiny_backbone,), "engine": "local", "out": str(out)} | change
    with pytest.raises(SessError, match=said):
        reproduce("fig5", settings=ReproduceConfig(**given), quiet=True)
    assert not (out / "runs").exists()


def test_images_that_all_fail_are_told_with_the_first_reason(curve, tiny_backbone, tmp_path):
    (tmp_path / "list.csv").write_text("image,label\nno.png,1\n")
    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1\nno.png,0,0,1,1\n")
    given = {"data": (f"{tmp_path}/list.csv",), "truth": (f"table:{tmp_path}/boxes.csv",)}
    given |= {"backbone": (tiny_backbone,), "engine": "local", "out": f"{tmp_path}/out"}
    assert reproduce("fig5", settings=ReproduceConfig(**given), quiet=True) == 1
    [row, _] = json.loads((tmp_path / "out" / "fig5.json").read_text())["rows"]
    assert row["error"].startswith("all 1 images failed, the first one so: ")
    assert "no.png" in row["error"]


@pytest.mark.parametrize("what", ["fig7", "fig9", "fig10", "fig11"])
def test_pictures(what, data, tiny_backbone, tmp_path, monkeypatch):
    runs = (Run("step 1", {"scales": 1}, 1.0), Run("step 1/2", {"scales": 1}, 0.5))
    small = Experiment(
        what, "T", **ALL, kind="pictures", images=1, runs=runs if what == "fig10" else runs[:1]
    )
    monkeypatch.setattr(jobs.reproduce, "read_experiment", lambda name: small)
    given = ReproduceConfig(
        data=data["data"], backbone=(tiny_backbone,), engine="local", out=str(tmp_path / "out")
    )
    assert reproduce(what, settings=given, quiet=True) == 0
    result = json.loads((tmp_path / "out" / f"{what}.json").read_text())
    [name] = result["pictures"]
    with Image.open(tmp_path / "out" / name) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    assert picture.format == "JPEG"
    assert len(np.unique(pixels, axis=0)) > 500
    red = (np.abs(pixels - (255, 0, 0)).sum(1) < 40).mean()
    assert (red > 1e-3) == (what == "fig11")  # the frames of the windows


def test_seconds_of_a_query(data, tiny_backbone, tmp_path, monkeypatch):
    runs = (BASE, Run("2 scales", {"scales": 2}))
    small = Experiment("table2", "T", **ALL, kind="speed", images=3, runs=runs)
    monkeypatch.setattr(jobs.reproduce, "read_experiment", lambda name: small)
    given = ReproduceConfig(
        data=data["data"], backbone=(tiny_backbone,), engine="local", out=str(tmp_path / "out")
    )
    assert reproduce("table2", settings=given, quiet=True) == 0
    rows = json.loads((tmp_path / "out" / "table2.json").read_text())["rows"]
    for row in rows:
        seconds = row["figures"]["seconds"]
        assert 0 < seconds["low"] <= seconds["value"] <= seconds["high"]
        assert row["images"] == 3


def test_the_plain_average_goes_over_every_patch():
    left = PatchSaliency(1, (4, 6), (0, 0, 4, 4), (0, 0, 4, 4), 0.5, torch.ones(1, 1))
    right = PatchSaliency(1, (4, 6), (2, 0, 6, 4), (2, 0, 6, 4), 1.0, torch.ones(1, 1))
    found = pictures.plain_average([left, right], (4, 6))
    # 0.25, 0.75 and 0.5 before they are made to span 0 to 1
    assert found[0].tolist() == pytest.approx([0, 0, 1, 1, 0.5, 0.5])
    config = SESSConfig(scales=1, base_size=4, window_size=4)
    assert fuse_patches([left, right], (4, 6), config)[0].tolist() == [0, 0, 0.5, 0.5, 1, 1]

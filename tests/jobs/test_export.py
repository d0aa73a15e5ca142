"""``sess export``."""

import json

import pytest
from PIL import Image
from pycocotools.coco import COCO

from jobs.cli import main
from pipeline import RunConfig, run


@pytest.fixture
def said(capsys):
    def call(*arguments):
        capsys.readouterr()  # what was printed before is not ours
        code = main(["export", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


TINY_NET = """
from torch import nn


def make():
    body = [nn.Conv2d(3, 8, 9, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(8, 5))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory, chelsea):
    """A run of two images, and one in which one of them failed."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "export_net.py").write_text(TINY_NET)
    settings = RunConfig(
        engine="local", labels="predicted", scales=1, window_size=32, backbone="export_net:make"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        for name in ("whole", "part"):
            (folder / name).mkdir()
            for size in (40, 64):
                Image.fromarray(chelsea).resize((size, size)).save(folder / name / f"{size}.png")
            if name == "part":
                (folder / name / "40.png").write_text("no image")
            run(str(folder / name), folder / f"{name}-maps", settings)
    return folder


def test_what_is_told(said, runs, tmp_path):
    dest = tmp_path / "labels"
    code, text, error = said(runs / "whole-maps", "--to", "coco", "--dest", dest)
    assert (code, error) == (0, "")
    assert "│ 2 " in text
    assert f'read them: pycocotools.coco.COCO("{dest}/instances.json")' in text
    assert len(COCO(dest / "instances.json").imgs) == 2
    code, text, error = said(runs / "part-maps", "--to", "voc", "--dest", tmp_path / "b")
    assert code == 1
    assert "skipped: 40.png: " in error
    assert "is no image of a known format" in error


def test_json_quiet_and_flags(said, runs, tmp_path):
    call = (runs / "whole-maps", "--to", "yolo", "--dest", tmp_path / "a")
    flags = ("--thresholds", "0.2", "0.6", "--min-area", "0.01", "--images", "link")
    code, text, error = said(*call, *flags, "--json")
    assert (code, error) == (0, "")
    told = json.loads(text)
    assert (told["images"], told["skipped"], told["to"]) == (2, 0, "yolo")
    made = json.loads((tmp_path / "a/export.json").read_text())
    assert made["state"] == "complete"
    assert made["config"]["thresholds"] == [0.2, 0.6]
    assert made["config"]["min_area"] == 0.01
    again = said(*call, "--overwrite", "--ignore", "0.2", "0.4", "--limit", "1", "--quiet")
    assert again == (0, "", "")
    assert len(list((tmp_path / "a/labels/train").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["{o}", "--to", "cocoo", "--dest", "{t}/d"],
            "unknown export 'cocoo'; did you mean 'coco'",
        ),
        (["{t}/none", "--to", "coco", "--dest", "{t}/d"], "none holds no run; is it the --out"),
        (["{o}", "--to", "coco", "--dest", "{t}/full"], "full is not empty and holds no export"),
        (["{o}", "--to", "coco", "--dest", "{o}/.."], "is where the run is; give another folder"),
        (["{o}", "--to", "coco", "--dest", "{t}/full/f/d"], "full/f/d cannot be written"),
        (["{o}", "--to", "coco"], "--dest requires an argument"),
        (
            ["{o}", "--to", "coco", "--dest", "{t}/d", "--min-score", "2", "--box-score", "x"],
            "unknown box_score 'x'; known: map, class, product; min_score must be in [0, 1]",
        ),
        (["{o}", "--to", "psa", "--dest", "{t}/d", "--images", "copy"], "known: none"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(said, runs, tmp_path, arguments, words):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "f").write_text("mine")
    filled = [one.format(o=runs / "whole-maps", t=tmp_path) for one in arguments]
    code, text, error = said(*filled)
    assert (code, text) == (2, "")
    assert error.startswith("sess: ")
    assert error.count("\n") == 1
    assert words in error
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "f"]

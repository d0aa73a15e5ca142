"""The commands of docs/datasets.md run, on small datasets of the same layout."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from jobs.cli import main
from pipeline import read_maps

PAGE = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text()
COMMANDS = [line for line in PAGE.splitlines() if line.startswith("sess ")]
FAST = ["--scales", "1", "--engine", "local", "--device", "cpu", "--quiet"]
VOC = "<annotation><object><name>cat</name></object><object><name>sofa</name></object></annotation>"


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with what the commands name: a photograph of a cat each."""
    folder = tmp_path_factory.mktemp("datasets")
    cat = Image.fromarray(data.chelsea()).resize((224, 150))
    for place in (
        "voc2012_100/JPEGImages/cat.jpg",
        "coco128/train2017/cat.jpg",
        "imagenet_val_sq300/images/cat.jpg",
    ):
        (folder / place).parent.mkdir(parents=True)
        cat.save(folder / place)
    (folder / "voc2012_100/Annotations").mkdir()
    (folder / "voc2012_100/Annotations/cat.xml").write_text(VOC)
    coco = {
        "images": [{"id": 9, "file_name": "cat.jpg", "height": 150, "width": 224}],
        "categories": [{"id": 17, "name": "cat"}, {"id": 49, "name": "knife"}],
        "annotations": [{"id": 1, "image_id": 9, "category_id": 17, "bbox": [20, 20, 90, 90]}],
    }
    (folder / "coco128/annotations").mkdir()
    (folder / "coco128/annotations/instances_train2017.json").write_text(json.dumps(coco))
    (folder / "imagenet_val_sq300/labels.csv").write_text("image,label\ncat.jpg,285\n")
    return folder


def test_the_commands_run_one_after_the_other(here, monkeypatch):
    monkeypatch.chdir(here)
    assert [shlex.split(command)[1] for command in COMMANDS[:4]] == ["run"] * 3 + ["export"]
    for command in COMMANDS[:4]:
        verb, *arguments = shlex.split(command)[1:]
        scales = arguments.index("--scales") if "--scales" in arguments else None
        if scales is not None:
            del arguments[scales : scales + 2]
        assert main([verb, *arguments, *(FAST if verb == "run" else ["--quiet"])]) == 0
    found = {
        out: [(one.image_id, one.class_name) for one in read_maps(out)]
        for out in ("voc", "coco", "imagenet")
    }
    assert found == {
        "voc": [("cat.jpg", "cat"), ("cat.jpg", "sofa")],
        "coco": [("cat.jpg", "cat")],
        "imagenet": [("cat.jpg", "Egyptian cat")],
    }
    mask = np.asarray(Image.open("masks/SegmentationClass/cat.png"))
    assert mask.shape == (150, 224)
    assert {0} < {*np.unique(mask)} <= {0, 8, 18}

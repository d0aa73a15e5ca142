import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

LINE = re.compile(
    r"(\d+) (0\.\d{6}|1\.000000) (0\.\d{6}|1\.000000) (0\.\d{6}|1\.000000) (0\.\d{6}|1\.000000)"
)


def check_labels(data_file):
    """The rules of Ultralytics, to the letter; boxes in pixels by file name and class name."""
    data = yaml.safe_load(Path(data_file).read_text())
    assert set(data) == {"path", "train", "val", "names"}
    assert list(data["names"]) == list(range(len(data["names"])))
    folder = Path(data["path"], data["train"])
    assert Path(data["path"]).is_absolute()
    found = {}
    for image in sorted(path for path in folder.rglob("*") if path.is_file()):
        label = "/labels/".join(str(image).rsplit("/images/", 1)).rsplit(".", 1)[0] + ".txt"
        width, height = Image.open(image).size
        boxes, seen = set(), set()
        for line in Path(label).read_text().splitlines():
            matched = LINE.fullmatch(line)
            assert matched
            assert line not in seen
            seen.add(line)
            number, values = int(matched[1]), np.array(matched.groups()[1:], float)
            centre, size = values[:2], values[2:]
            assert (size > 0).all()
            assert (centre - size / 2 > -1e-6).all()
            assert (centre + size / 2 < 1 + 1e-6).all()
            edges = np.concatenate([centre - size / 2, centre + size / 2])
            pixels = (edges * [width, height, width, height]).round(2).tolist()
            boxes.add((data["names"][number], *pixels))
        found[str(image.relative_to(folder))] = boxes
    return found


@pytest.mark.parametrize("images", ["link", "copy"])
def test_labels_keep_the_rules(out, exported, images):
    dest, summary = exported(out, "yolo", images=images)
    assert check_labels(dest / "data.yaml") == {
        "a/1.jpg": {("cat", 10, 20, 40, 50)},
        "2.jpg": {("dog", 0, 0, 30, 60), ("bird", 50, 10, 80, 30), ("bird", 50, 40, 60, 60)},
        "none.jpg": set(),
    }
    assert (dest / "labels/train/none.txt").read_bytes() == b""
    assert (dest / "labels/train/a/1.txt").read_text() == "1 0.312500 0.583333 0.375000 0.500000\n"
    assert (summary.classes, summary.empty) == (3, 1)


def test_without_groups_classes_are_those_of_the_source_or_those_that_occur(
    make_out, drawn, exported
):
    names = {3: "Zebra", 400: "crane", 900: "crane"}
    image = drawn("1.png", {900: [(0, 0, 9, 9)], 3: [(20, 20, 40, 40)]})
    out = make_out(image, groups=None, names=names)
    dest, _ = exported(out, "yolo", images="link")
    assert check_labels(dest / "data.yaml")["1.png"] == {
        ("Zebra", 20, 20, 40, 40),
        ("crane", 0, 0, 9, 9),
    }
    assert yaml.safe_load((dest / "data.yaml").read_text())["names"] == {0: "Zebra", 1: "crane"}
    listed = {"classes": {"ant": 4, "crane": 9, "zebra": 2}}
    out = make_out(
        image, folder="b", groups=None, names=names, dataset={"n_images": 1, "listed": listed}
    )
    dest, _ = exported(out, "yolo", "other")
    data = yaml.safe_load((dest / "data.yaml").read_text())
    assert data["names"] == {0: "zebra", 1: "ant", 2: "crane"}
    assert {line[0] for line in (dest / "labels/train/1.txt").read_text().splitlines()} == {
        "0",
        "2",
    }
    both = drawn("1.png", {900: [], 400: []})
    dest, _ = exported(make_out(both, folder="c", groups=None, names=names), "yolo", "alike")
    data = yaml.safe_load((dest / "data.yaml").read_text())
    assert data["names"] == {0: "crane (400)", 1: "crane (900)"}

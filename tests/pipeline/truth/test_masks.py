import json
import pickle

import numpy as np
import pytest

from pipeline.groups import shipped_groups
from pipeline.truth import guess_truth, open_truth
from sess_kernels import SessError

NAMES = ["dog", "cat"]


@pytest.fixture
def values():
    found = np.zeros((20, 30), np.uint8)
    found[:5], found[5:9], found[9] = 1, 2, 255
    return found


@pytest.mark.parametrize("mode", ["P", "L"])
def test_masks_of_classes(tmp_path, picture, values, mode):
    picture(tmp_path / "a.png", values, mode)
    picture(tmp_path / "val" / "b.png", values[:10], mode)
    truth = pickle.loads(pickle.dumps(open_truth(f"masks:{tmp_path}", NAMES)))
    assert (truth.has_boxes, truth.has_masks, truth.has_regions) == (False, True, True)
    found = truth.of("photos/a.jpg", (20, 30))
    assert np.array_equal(found.mask, values)
    assert sorted(found.classes) == [0, 1]
    assert np.array_equal(found.classes[1].region, values == 2)
    assert np.array_equal(found.classes[1].unknown, values == 255)
    assert found.classes[1].boxes.shape == (0, 4)
    assert np.array_equal(truth.of("val/b.jpg").mask, values[:10])
    assert truth.of("b.jpg") is truth.of("../a/c.jpg") is None


def test_what_values_stand_for(tmp_path, picture, values):
    picture(tmp_path / "a.png", values)
    (tmp_path / "names.txt").write_text("sofa\nDOG\n")
    listed = [{"value": 1, "name": "sofa"}, {"value": 2, "name": "dog"}]
    (tmp_path / "classes.json").write_text(json.dumps({"classes": listed}))
    for file in ("names.txt", "classes.json"):
        found = open_truth(f"masks:{tmp_path}?classes={tmp_path}/{file}", NAMES).of("a.jpg")
        assert list(found.classes) == [0]
        assert found.mask[[0, 5, 9], 0].tolist() == [0, 1, 255]
    voc = list(shipped_groups("voc20"))
    found = open_truth(f"masks:{tmp_path}?classes=voc20", [voc[1], voc[0]]).of("a.jpg")
    assert found.mask[[0, 5], 0].tolist() == [2, 1]
    (tmp_path / "classes.json").write_text("{}")
    with pytest.raises(SessError, match=r"classes\.json is not the classes\.json of an export"):
        open_truth(f"masks:{tmp_path}?classes={tmp_path}/classes.json", NAMES)
    with pytest.raises(SessError, match="none of its classes"):
        open_truth(f"masks:{tmp_path}?classes=voc20", ["tench"])


def test_masks_beside_another_truth(tmp_path, picture, values, annotate):
    annotate(tmp_path / "voc" / "Annotations" / "a.xml", ("cat", 0, 5, 1, 1, 5))
    for name in ("a", "b"):
        picture(tmp_path / "masks" / f"{name}.png", values)
    truth = open_truth(f"masks:{tmp_path}/masks?truth=voc:{tmp_path}/voc", NAMES)
    assert (truth.has_boxes, truth.has_masks, truth.has_regions) == (True, True, False)
    found = truth.of("a.jpg")
    assert found.classes[1].boxes.tolist() == [[0, 0, 5, 5]]
    assert np.array_equal(found.mask, values)
    assert np.array_equal(truth.of("b.jpg").mask, values)
    assert truth.of("c.jpg") is None


def test_binary_masks_are_of_any_class(tmp_path, picture, values):
    picture(tmp_path / "a.png", 255 * (values == 1), "L")
    picture(tmp_path / "b.png", np.where(values == 2, 0, values), "L")
    picture(tmp_path / "c.png", 255 * (values == 1), "1")
    truth = pickle.loads(pickle.dumps(open_truth(f"masks:{tmp_path}?binary=1", ["x"] * 1000)))
    assert (truth.has_boxes, truth.has_masks, truth.has_regions) == (False, False, True)
    for name, unknown in (("a", np.zeros_like(values)), ("b", values == 255), ("c", 0 * values)):
        found = truth.of(f"{name}.jpg", (20, 30))
        assert not found.labelled
        assert np.array_equal(found.classes[999].region, values == 1)
        assert np.array_equal(found.classes[999].unknown, unknown)
    assert truth.of("d.jpg") is None


def test_what_nobody_knows_may_have_masks_of_its_own(tmp_path, picture, values):
    picture(tmp_path / "masks" / "a.png", 255 * (values == 1), "L")
    picture(tmp_path / "ignore" / "a.png", 255 * (values <= 1), "L")
    said = f"masks:{tmp_path}/masks?binary=1&ignore={tmp_path}/ignore"
    found = open_truth(said, NAMES).of("a.jpg")
    assert np.array_equal(found.classes[0].region, values == 1)
    assert np.array_equal(found.classes[0].unknown, values == 0)


def test_bad_masks_are_told(tmp_path, picture, values):
    picture(tmp_path / "a.png", values)
    (tmp_path / "b.png").write_text("no picture")
    for said in (f"masks:{tmp_path}", f"masks:{tmp_path}?binary=1"):
        truth = open_truth(said, NAMES)
        found = truth.of("a.jpg", (30, 20))
        assert (found.classes, found.mask) == ({}, None)
        told = "has 30x20 pixels but its image has 20x30; it is left out"
        assert found.faults == [f"{tmp_path}/a.png {told}"]
        found = truth.of("b.jpg", (30, 20))
        assert found.faults[0].startswith(f"{tmp_path}/b.png cannot be read")


def test_what_cannot_be_used_is_told(tmp_path):
    for said, names, told in (
        ("?binary=1&classes=voc20", NAMES, "drop classes"),
        ("?ignore=x", NAMES, "ignore is for binary masks"),
        ("?binary=yes", NAMES, "binary must be 0 or 1 but is 'yes'"),
        ("", ["x"] * 300, "cannot tell the 300 classes of the run apart"),
    ):
        with pytest.raises(SessError, match=told):
            open_truth(f"masks:{tmp_path}{said}", names)


def test_kinds_are_guessed(tmp_path, picture, values):
    picture(tmp_path / "masks" / "a.png", values)
    (tmp_path / "kaggle" / "ILSVRC").mkdir(parents=True)
    (tmp_path / "voc" / "VOC2007").mkdir(parents=True)
    for name in ("masks", "imagenet", "voc"):
        found = tmp_path / ("kaggle" if name == "imagenet" else name)
        assert guess_truth(str(found)) == name
    assert guess_truth("s3://bucket/instances.json?images=x") == "coco"

import json

import numpy as np
import pycocotools.mask
import pytest
from PIL import Image
from torchvision.datasets import VOCSegmentation

from pipeline.exports.labelled import MAX_CLASSES
from pipeline.sinks.masks import palette
from sess_kernels import SessError


def mask_of(marks, size=(60, 80)):
    mask = np.zeros(size, np.uint8)
    for value, left, top, right, bottom in marks:
        mask[top:bottom, left:right] = value
    return mask


MASKS = {  # bird, cat, dog are 1, 2, 3
    "a/1": mask_of([(2, 10, 20, 40, 50)]),
    "2": mask_of([(3, 0, 0, 30, 60), (1, 50, 10, 80, 30), (1, 50, 40, 60, 60)]),
    "none": mask_of([]),
}


def test_pictures_hold_the_numbers(out, exported):
    dest, summary = exported(out, "masks", background=0.5)
    for name, mask in MASKS.items():
        with Image.open(dest / f"SegmentationClass/{name}.png") as image:
            assert (image.mode, image.size) == ("P", (80, 60))
            assert (np.asarray(image) == mask).all()
            assert image.getpalette("RGB")[3:9] == [128, 0, 0, 0, 128, 0]
    assert (dest / "ImageSets/Segmentation/train.txt").read_text() == "a/1\n2\nnone\n"
    told = json.loads((dest / "classes.json").read_text())
    assert (told["background"], told["ignore"]) == (0, 255)
    assert [(one["value"], one["name"]) for one in told["classes"]] == [
        (1, "bird"),
        (2, "cat"),
        (3, "dog"),
    ]
    assert (summary.images, summary.masks, summary.boxes, summary.empty) == (3, 3, 0, 0)


def test_the_palette_is_that_of_voc():
    """Bit by bit, as the development kit describes its label colours."""
    expected = np.zeros((256, 3), int)
    for label in range(256):
        left, shift = label, 7
        while left:
            for channel in range(3):
                expected[label, channel] |= (left >> channel & 1) << shift
            left, shift = left >> 3, shift - 1
    assert (palette() == expected).all()
    # aeroplane, person, tvmonitor and the border of the real files
    assert palette()[[1, 15, 20, 255]].tolist() == [
        [128, 0, 0],
        [192, 128, 128],
        [0, 64, 128],
        [224, 224, 192],
    ]


def test_torchvision_reads_them(out, exported, tmp_path):
    exported(out, "masks", "root/VOCdevkit/VOC2012", background=0.5, images="link")
    dataset = VOCSegmentation(str(tmp_path / "root"), year="2012", image_set="train")
    for (image, found), mask in zip(dataset, MASKS.values(), strict=True):
        assert image.size == found.size
        assert (np.asarray(found) == mask).all()


def test_run_lengths(out, exported):
    dest, _ = exported(out, "masks", background=0.5, rle=True)
    found = json.loads((dest / "rle.json").read_text())
    assert [(one["image_id"], one["category_id"]) for one in found] == [(1, 2), (2, 3), (2, 1)]
    masks = list(MASKS.values())
    for one in found:
        inside = pycocotools.mask.decode(one["segmentation"])
        assert (inside == (masks[one["image_id"] - 1] == one["category_id"])).all()
    assert found[0]["score"] == pytest.approx(0.9)


def test_an_image_whose_photograph_changed_is_skipped(out, exported, tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "photos/2.jpg")
    (tmp_path / "photos/none.jpg").unlink()
    _, summary = exported(out, "masks", refine="pamr", iterations=1)
    assert (summary.images, summary.skipped) == (1, 3)
    assert "2.jpg has 8x6 pixels, but its maps have 80x60" in summary.reasons[1]
    assert "none.jpg" in summary.reasons[2]


def test_more_classes_than_a_byte_holds_are_refused(make_out, drawn, exported):
    groups = {f"class {number}": [number] for number in range(MAX_CLASSES + 1)}
    out = make_out(drawn("1.jpg", {MAX_CLASSES: [(0, 0, 9, 9)]}), groups=groups)
    with pytest.raises(SessError, match="masks hold 254 classes but the dataset has 255"):
        exported(out, "masks")
    dest, _ = exported(out, "yolo")  # a refused export has left nothing
    assert (dest / "labels/train/1.txt").read_text().startswith("254 ")

import builtins
import pickle
import re

import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO

from pipeline.truth import open_truth
from sess_kernels import SessError

NAMES = ["dog", "Cat"]
POLYGONS = [[2.5, 1, 9, 1, 9, 7.25, 2.5, 7], [12, 12, 20, 12, 16, 18]]


def blob(seed):
    """The compressed run lengths of a random mask."""
    pixels = np.random.default_rng(seed).random((20, 30)) < 0.2
    found = rle.encode(np.asfortranarray(pixels, np.uint8))
    return found | {"counts": found["counts"].decode()}


def thing(category, box=None, image=7, **more):
    return {"image_id": image, "category_id": category, "bbox": box or [2, 1, 7, 6.5]} | more


def crowd():
    counts = [45, 30, 20 * 30 - 75]
    return {"iscrowd": 1, "segmentation": {"size": [20, 30], "counts": counts}}


@pytest.fixture
def annotated(coco):
    return coco(
        [
            thing(3, segmentation=POLYGONS),
            thing(8, [0, 0, 5, 5], segmentation=POLYGONS[:1]),
            thing(5, [1, 1, 2, 2], image=9, segmentation=POLYGONS[1:]),
            thing(3, [0, 5, 30.4, 9], **crowd()),
            thing(5, [4.5, 4, 9, 9], segmentation=blob(1)),
        ]
    )


def test_boxes_and_regions_are_those_of_pycocotools(annotated):
    truth, theirs = open_truth(f"coco:{annotated}", NAMES), COCO(annotated)
    assert (truth.has_boxes, truth.has_regions, truth.has_masks) == (True, True, True)
    for image in theirs.dataset["images"]:
        found = truth.of(image["file_name"], (20, 30))
        assert found.faults == []
        expected = {}
        for one in theirs.loadAnns(theirs.getAnnIds(image["id"], iscrowd=None)):
            name = theirs.cats[one["category_id"]]["name"]
            expected.setdefault(name, []).append(one)
        assert {NAMES[number].lower() for number in found.classes} == {*expected} - {"zebra"}
        for number, truth_of_class in found.classes.items():
            ours = expected[NAMES[number].lower()]
            boxes = np.array([one["bbox"] for one in ours])
            boxes[:, 2:] += boxes[:, :2]
            assert np.array_equal(truth_of_class.boxes, boxes.astype(np.float32))
            crowds = [bool(one.get("iscrowd")) for one in ours]
            assert truth_of_class.difficult.tolist() == crowds
            pixels = np.any([theirs.annToMask(one) for one in ours], axis=0)
            assert np.array_equal(truth_of_class.region, pixels)
            assert pixels.any()


def test_masks_are_of_the_regions(annotated):
    found = open_truth(f"coco:{annotated}", NAMES).of("a.jpg")
    dog, cat = (found.classes[number].region.numpy() for number in (0, 1))
    mask = found.mask.numpy()
    assert np.array_equal(mask == 255, dog & cat)
    assert (dog & cat).any()
    assert np.array_equal(mask == 1, dog & ~cat)
    assert np.array_equal(mask == 2, cat & ~dog)
    assert np.array_equal(mask == 0, ~dog & ~cat)
    assert found.others == {"zebra": 1}


def test_images_are_found_by_their_names(annotated):
    truth = open_truth(str(annotated), NAMES)
    for image_id in ("a.jpg", "train2017/a.jpg", "a", "./a.png"):
        assert sorted(truth.of(image_id).classes) == [0, 1]
    for image_id in ("val/b.jpg", "b.jpg", "coco/val/b.jpg"):
        assert list(truth.of(image_id).classes) == [0]
    assert truth.of("train/b.jpg") is truth.of("c.jpg") is None


def test_it_is_pickled(annotated):
    truth = open_truth(f"coco:{annotated}?images=elsewhere", NAMES)
    found, again = (one.of("a.jpg") for one in (truth, pickle.loads(pickle.dumps(truth))))
    assert np.array_equal(found.mask, again.mask)
    assert again.mask.unique().tolist() == [0, 1, 2, 255]


def test_images_without_an_object_are_background(coco):
    found = open_truth(f"coco:{coco([thing(3, segmentation=POLYGONS)])}", NAMES).of("b.jpg")
    assert found.classes == {}
    assert found.mask.shape == (20, 30)
    assert not found.mask.any()


def test_boxes_alone(coco):
    truth = open_truth(f"coco:{coco([thing(3)])}", NAMES)
    assert (truth.has_boxes, truth.has_regions, truth.has_masks) == (True, False, False)
    found = truth.of("a.jpg")
    assert found.classes[1].region is found.mask is None


def test_bad_entries_are_told_and_the_others_stay(coco):
    path = coco(
        [
            thing(3, [1, 1, 4, 4]),
            thing(3, image=8),
            thing(4),
            "what",
            thing(3, [1, 1, "wide", 4]),
            thing(3, [25, 1, 9, 4]),
            thing(3, [2, 2, 0, 4]),
            thing(5, [40, 1, 9, 4]),
        ]
    )
    truth = open_truth(f"coco:{path}", NAMES)
    assert truth.faults == [
        f"{path}: annotations[1] is of the unknown image 8; it is left out",
        f"{path}: annotations[2] is of the unknown category 4; it is left out",
        f"{path}: annotations[3] is no annotation; it is left out",
        f"{path}: annotations[4] has the box [1, 1, 'wide', 4] of not four numbers; the box is "
        "left out",
    ]
    found = truth.of("a.jpg")
    assert found.classes[1].boxes.tolist() == [[1, 1, 5, 5], [25, 1, 30, 5]]
    assert found.classes[0].boxes.shape == (0, 4)
    image = "the image of 30x20 pixels"
    assert found.faults == [
        f"{path}: annotations[5]: the box of 'Cat' reaches beyond {image}; it is cut",
        f"{path}: annotations[6]: the box of 'Cat' has no area; it is left out",
        f"{path}: annotations[7]: the box of 'dog' lies outside {image}; it is left out",
    ]


@pytest.mark.parametrize(
    ("outline", "said"),
    [
        ([[1, 1, 5]], "a polygon that is none"),
        ([[1, 1, 5, 1, 5, "x"]], "a polygon that is none"),
        ([[1, 1, 5, 1, 1e9, 9]], "far outside its image"),
        ([[1, 1, 5, 1, float("nan"), 9]], "far outside its image"),
        ({"size": [30, 20], "counts": [600]}, r"of the size \[30, 20\], not \(20, 30\)"),
        ({"size": [20, 30], "counts": [600, 9]}, "do not add up"),
        ({"size": [20, 30], "counts": "~~~"}, "none of theirs"),
        ({"size": [20, 30], "counts": blob(1)["counts"][:-1]}, "do not add up|cut short"),
        ({"size": [20, 30], "counts": "52o"}, "cut short"),
        ({"size": [20, 30]}, "do not add up"),
        (5, "neither polygons nor run lengths"),
    ],
)
def test_bad_outlines_are_told(coco, outline, said):
    path = coco([thing(3, segmentation=POLYGONS), thing(3, segmentation=outline)])
    found = open_truth(f"coco:{path}", NAMES).of("a.jpg")
    expected = COCO(path).annToMask(COCO(path).anns[0])
    assert np.array_equal(found.classes[1].region, expected)
    assert len(found.classes[1].boxes) == 2
    [fault] = found.faults
    assert re.search(rf"annotations\[1\]: .*{said}.*; its outline is left out", fault)


def test_an_image_of_another_size_is_told(annotated):
    found = open_truth(f"coco:{annotated}", NAMES).of("a.jpg", (40, 60))
    assert found.classes == {}
    assert found.mask is None
    said = "it is for 30x20 pixels but the image has 60x40; its boxes are left out"
    assert found.faults == [f"{annotated}: a.jpg: {said}"]


def test_what_cannot_be_used_is_told(coco, tmp_path):
    with pytest.raises(SessError, match=r"none of its classes \(cat, dog, zebra\) is one of the"):
        open_truth(f"coco:{coco([])}", ["tench", "goldfish"])
    with pytest.raises(SessError, match=r"no\.json does not exist"):
        open_truth("coco:no.json", NAMES)
    for text, said in (("{", "is no JSON"), ("[1]", "it has no list 'images'")):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(SessError, match=said):
            open_truth(f"coco:{tmp_path}/bad.json", NAMES)


def test_pycocotools_is_asked_for_where_pixels_are_needed(annotated, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("pycocotools"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    found = open_truth(f"coco:{annotated}", NAMES).of("a.jpg")
    assert len(found.classes[1].boxes) == 2
    with pytest.raises(SessError, match=r'pip install "sess-pipeline\[coco\]"'):
        _ = found.classes[1].region

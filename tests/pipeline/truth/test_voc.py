import pickle
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import VOCDetection, VOCSegmentation

from pipeline.sources.voc import VOC_CLASSES
from pipeline.truth import open_truth
from sess_kernels import SessError

OBJECTS = {
    "2008_000003": [("dog", 0, 30, 1, 1, 20), ("cat", 1, 9, 2, 3, 8), ("dog", 0, 12, 12, 5, 5)],
    "2007_000027": [("tvmonitor", 0, 30, 11, 2, 20)],
}


@pytest.fixture
def voc(tmp_path, annotate, picture):
    """VOC2012 with two annotations, and the mask of one of them."""
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    for name, objects in OBJECTS.items():
        annotate(folder / "Annotations" / f"{name}.xml", *objects)
        (folder / "JPEGImages").mkdir(exist_ok=True)
        Image.new("RGB", (30, 20)).save(folder / "JPEGImages" / f"{name}.jpg")
    mask = np.zeros((20, 30), np.uint8)
    mask[:9], mask[9], mask[10:] = 12, 255, 8
    picture(folder / "SegmentationClass" / "2008_000003.png", mask)
    for task in ("Main", "Segmentation"):
        lists = folder / "ImageSets" / task
        lists.mkdir(parents=True)
        (lists / "val.txt").write_text("\n".join(OBJECTS if task == "Main" else ["2008_000003"]))
    return folder


def test_boxes_are_those_of_torchvision(voc):
    truth = open_truth(f"voc:{voc}", VOC_CLASSES)
    theirs = VOCDetection(voc.parent.parent, year="2012", image_set="val")
    for image, file in zip(theirs.images, theirs.annotations, strict=True):
        said = VOCDetection.parse_voc_xml(ElementTree.parse(file).getroot())["annotation"]
        expected = {}
        for one in said["object"]:
            left, top, right, bottom = (
                int(one["bndbox"][name]) for name in ("xmin", "ymin", "xmax", "ymax")
            )
            boxes, difficult = expected.setdefault(VOC_CLASSES.index(one["name"]), ([], []))
            boxes.append([left - 1, top - 1, right, bottom])
            difficult.append(one["difficult"] == "1")
        found = truth.of(image.rpartition("/")[2], (20, 30))
        assert found.size == (20, 30)
        assert found.faults == []
        assert {
            number: (one.boxes.tolist(), one.difficult.tolist())
            for number, one in found.classes.items()
        } == expected


def test_masks_are_those_of_torchvision(voc):
    truth = open_truth(f"voc:{voc}", VOC_CLASSES)
    [(_, theirs)] = VOCSegmentation(voc.parent.parent, year="2012", image_set="val")
    assert np.array_equal(truth.of("2008_000003.jpg").mask.numpy(), np.array(theirs))
    assert truth.of("2007_000027.jpg").mask is None
    # more images have masks than boxes, in the folder that wins
    (voc / "SegmentationClassAug").mkdir()
    theirs.save(voc / "SegmentationClassAug" / "2010_1.png")
    found = open_truth(f"voc:{voc}", VOC_CLASSES).of("JPEGImages/2010_1.jpg")
    assert found.classes == {}
    assert np.array_equal(found.mask.numpy(), np.array(theirs))


def test_classes_are_those_of_the_run(voc):
    truth = open_truth(f"voc:{voc}", ["TVmonitor", "Cat"])
    found = truth.of("2008_000003.jpg")
    assert list(found.classes) == [1]
    assert found.others == {"dog": 2}
    assert list(truth.of("2007_000027").classes) == [0]
    # a cat is 1 + 1, dogs are background, and nobody knows the line between
    assert found.mask[[0, 9, 19], 0].tolist() == [0, 255, 2]
    # masks of 8 bits do not tell a thousand classes apart
    many = open_truth(f"voc:{voc}", [*map(str, range(300)), "dog"])
    assert (many.has_boxes, many.has_masks) == (True, False)
    assert many.of("2008_000003.jpg").mask is None


def test_folders(voc):
    for said in (f"voc:{voc}", voc, voc.parent, f"{voc.parent.parent}?year=2012"):
        truth = open_truth(str(said), VOC_CLASSES)
        assert (truth.has_boxes, truth.has_masks, truth.has_regions) == (True, True, False)
        assert list(truth.of("2007_000027.jpg").classes) == [19]
        assert truth.of("2007_000028.jpg") is None
    with pytest.raises(SessError, match="unknown year '2007'"):
        open_truth(f"voc:{voc.parent.parent}?year=2007", VOC_CLASSES)
    with pytest.raises(SessError, match="unknown option 'yaer'"):
        open_truth(f"voc:{voc}?yaer=2007", VOC_CLASSES)
    with pytest.raises(SessError, match="there is no such folder"):
        open_truth(f"{voc}/none", VOC_CLASSES)
    (voc.parent / "VOC2007" / "JPEGImages").mkdir(parents=True)
    with pytest.raises(SessError, match="choose with"):
        open_truth(f"voc:{voc.parent}", VOC_CLASSES)
    with pytest.raises(SessError, match="is no truth: it holds none of Annotations"):
        open_truth(f"voc:{voc.parent}?year=2007", VOC_CLASSES)


def test_it_is_pickled_small(voc):
    truth = open_truth(f"voc:{voc}", VOC_CLASSES)
    content = pickle.dumps(truth)
    assert len(content) < 10_000
    again = pickle.loads(content).of("2008_000003.jpg")
    assert again.classes[11].boxes.tolist() == [[0, 0, 30, 20], [11, 4, 12, 5]]
    assert again.mask.unique().tolist() == [8, 12, 255]


def test_bad_boxes_are_told_and_the_others_stay(voc, annotate):
    file = voc / "Annotations" / "2008_000003.xml"
    annotate(
        file,
        ("cat", 0, 40, 11, 3, 20),
        ("cat", 0, 9, 2, 3, "x"),
        ("cat", 0, 5, 9, 3, 8),
        ("cat", 0, 99, 90, 3, 8),
        ("", 0, 9, 2, 3, 8),
        ("cat", 0, 9, 2, 3, 8),
    )
    found = open_truth(f"voc:{voc}", VOC_CLASSES).of("2008_000003.jpg")
    assert found.classes[7].boxes.tolist() == [[10, 2, 30, 20], [1, 2, 9, 8]]
    assert found.faults == [
        f"{file}: line 7: an object has no name; it is left out",
        f"{file}: line 3: the box of 'cat' reaches beyond the image of 30x20 pixels; it is cut",
        f"{file}: line 4: the box of 'cat' is no box of four numbers; it is left out",
        f"{file}: line 5: the box of 'cat' has no area; it is left out",
        f"{file}: line 6: the box of 'cat' lies outside the image of 30x20 pixels; it is left out",
    ]


def test_a_class_may_be_there_without_a_box(voc):
    file = voc / "Annotations" / "2007_000027.xml"
    file.write_text("<annotation><object><name>cat</name></object></annotation>")
    found = open_truth(f"voc:{voc}", VOC_CLASSES).of("2007_000027.jpg")
    assert found.classes[7].boxes.shape == (0, 4)
    assert (found.faults, found.size) == ([], None)


def test_an_annotation_of_another_size_is_told(voc):
    found = open_truth(f"voc:{voc}", VOC_CLASSES).of("2008_000003.jpg", (30, 20))
    assert found.classes == {}
    assert found.mask is None
    said = "is for 30x20 pixels but the image has 20x30; its boxes are left out"
    assert found.faults[0].endswith(f"2008_000003.xml: it {said}")
    assert "2008_000003.png has 30x20 pixels but its image has 20x30" in found.faults[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<annotation>", "not an annotation in XML, no element found: line 1"),
        ("", "not an annotation in XML, no element found"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "it declares an entity: line 1"),
        ('<?xml version="1.0" encoding="latin-99"?><a/>', "not an annotation in XML"),
    ],
)
def test_a_broken_annotation_is_told(voc, text, said):
    (voc / "Annotations" / "2008_000003.xml").write_text(text)
    found = open_truth(f"voc:{voc}", VOC_CLASSES).of("2008_000003.jpg")
    assert found.classes == {}
    assert said in found.faults[0]
    assert "2008_000003.xml" in found.faults[0]
    assert found.mask.shape == (20, 30)  # of the mask all is well


def test_bad_masks_are_told(voc, picture):
    file = voc / "SegmentationClass" / "2008_000003.png"
    truth = open_truth(f"voc:{voc}", VOC_CLASSES)
    picture(file, np.full((20, 30), 77))
    found = truth.of("2008_000003.jpg")
    assert found.mask.unique().tolist() == [255]
    assert found.faults == [f"{file}: the values 77 stand for no class; nobody knows these pixels"]
    whole = file.read_bytes()
    picture(file, np.zeros((20, 30)), "RGB")
    for broken, said in (
        (file.read_bytes(), "is a picture of mode RGB"),
        (whole[:-30], "cannot be read"),
        (b"no picture", "cannot be read"),
    ):
        file.write_bytes(broken)
        found = truth.of("2008_000003.jpg")
        assert (found.mask, len(found.classes)) == (None, 2)
        assert said in found.faults[0]
        assert str(file) in found.faults[0]

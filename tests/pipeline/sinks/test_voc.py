from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import VOCDetection

from sess_kernels import SessError

BOXES = {  # left, top, right, bottom, counted from 1, all of them inside
    "a/1": {("cat", 11, 21, 40, 50)},
    "2": {("dog", 1, 1, 30, 60), ("bird", 51, 11, 80, 30), ("bird", 51, 41, 60, 60)},
    "none": set(),
}


def objects_of(path):
    found = set()
    for one in ElementTree.parse(path).getroot().iter("object"):
        edges = (int(one.findtext(f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax"))
        found.add((one.findtext("name"), *edges))
        assert one.findtext("pose") == "Unspecified"
        assert (one.findtext("truncated"), one.findtext("difficult")) == ("0", "0")
        assert 0 <= float(one.findtext("score")) <= 1
    return found


def test_pixels_are_counted_from_1_and_edges_are_inside(out, exported):
    dest, summary = exported(out, "voc")
    listed = (dest / "ImageSets/Main/train.txt").read_text().splitlines()
    assert listed == ["a/1", "2", "none"]
    assert {name: objects_of(dest / f"Annotations/{name}.xml") for name in listed} == BOXES
    root = ElementTree.parse(dest / "Annotations/a/1.xml").getroot()
    assert (root.findtext("folder"), root.findtext("filename")) == ("JPEGImages", "a/1.jpg")
    size = [root.findtext(f"size/{name}") for name in ("width", "height", "depth")]
    assert (size, root.findtext("segmented")) == (["80", "60", "3"], "0")
    assert not (dest / "JPEGImages").exists()
    assert summary.skipped == 1


@pytest.mark.parametrize("images", ["link", "copy"])
def test_torchvision_reads_it(out, exported, tmp_path, images):
    dest, _ = exported(out, "voc", "root/VOCdevkit/VOC2012", images=images)
    dataset = VOCDetection(str(tmp_path / "root"), year="2012", image_set="train")
    assert len(dataset) == 3
    for (image, target), name in zip(dataset, BOXES, strict=True):
        photograph = Image.open(tmp_path / f"photos/{name}.jpg")
        assert (np.asarray(image) == np.asarray(photograph)).all()
        found = target["annotation"].get("object", [])
        assert {one["name"] for one in found} == {box[0] for box in BOXES[name]}
    assert (dest / "JPEGImages/2.jpg").is_symlink() == (images == "link")


def test_images_that_would_share_a_file_are_refused(make_out, drawn, exported):
    out = make_out(drawn("b/1.jpg", {0: []}), drawn("b/1.png", {0: []}))
    for to in ("voc", "yolo", "masks", "proposals", "irn", "psa"):
        with pytest.raises(
            SessError, match=r"b/1\.jpg and b/1\.png would share the file name b/1;"
        ):
            exported(out, to)
    with pytest.raises(SessError, match="would share"):
        exported(out, "coco", images="copy")
    dest, _ = exported(out, "wsol")
    assert len(list(dest.rglob("*.npy"))) == 2


def test_ids_that_are_absolute_lose_the_folder_above_them(make_out, drawn, exported):
    out = make_out(
        drawn("/data/x/1.jpg", {1: [(10, 20, 40, 50)]}), drawn("/data/y/2.v1.jpg", {1: []})
    )
    dest, _ = exported(out, "voc")
    assert (dest / "ImageSets/Main/train.txt").read_text() == "x/1\ny/2.v1\n"
    assert objects_of(dest / "Annotations/x/1.xml") == {("cat", 11, 21, 40, 50)}


def test_names_stay_inside_and_xml_is_escaped(make_out, drawn, exported, tmp_path):
    groups = {"<dog> & cat": [1]}
    out = make_out(drawn("../&<1>.jpg", {0: [(0, 0, 5, 5)]}), groups=groups)
    dest, _ = exported(out, "voc")
    [path] = (dest / "Annotations").rglob("*.xml")
    assert objects_of(path) == {("<dog> & cat", 1, 1, 5, 5)}
    assert (dest / "ImageSets/Main/train.txt").read_text() == "%2E%2E/&%3C1%3E\n"


def test_a_photograph_that_is_gone_is_skipped(out, exported, tmp_path):
    (tmp_path / "photos/2.jpg").unlink()
    (tmp_path / "photos/none.jpg").write_text("no image")
    _, summary = exported(out, "voc", "a", images="link")
    assert (summary.images, summary.skipped) == (2, 2)
    assert summary.reasons[1].endswith("photos/2.jpg does not exist")
    dest, summary = exported(out, "voc", "b", images="copy")
    assert (summary.images, summary.skipped) == (1, 3)
    assert summary.reasons[2].endswith("photos/none.jpg is no image of a known format")
    assert (dest / "ImageSets/Main/train.txt").read_text() == "a/1\n"

import time
from xml.etree import ElementTree

import pytest
from PIL import Image
from torchvision.datasets import VOCDetection

from pipeline import RunConfig
from pipeline.files import Folder
from pipeline.planning import Dataset
from pipeline.sources import Listed, open_source
from pipeline.sources.voc import VOC_CLASSES
from sess_kernels import SessError

BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
PART = f"<part><name>head</name>{BOX.format(1, 1, 3, 3)}</part>"


def item(name, box=(1, 1, 30, 20), difficult=0, more=""):
    said = f"<difficult>{difficult}</difficult>{BOX.format(*box)}{more}"
    return f"<object>\n<name>{name}</name>{said}</object>\n"


def annotation(*objects):
    size = "<size><width>30</width><height>20</height><depth>3</depth></size>"
    return f"<annotation>\n{size}\n{''.join(objects)}</annotation>\n"


IMAGES = {
    "2008_000003": [item("dog"), item("cat"), item("dog", (2, 2, 9, 9)), item("person", more=PART)],
    "2007_000027": [item("person", difficult=1), item("sofa")],
    "2007_000032": [item("tvmonitor", difficult=1)],
}


def listing(source):
    listed = Listed()
    rows = [row for table in open_source(str(source), listed) for row in table.to_pylist()]
    return {row["image_id"]: row["labels"] for row in rows}, listed


@pytest.fixture
def voc(tmp_path):
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for name, objects in IMAGES.items():
        Image.new("RGB", (30, 20)).save(folder / "JPEGImages" / f"{name}.jpg")
        (folder / "Annotations" / f"{name}.xml").write_text(annotation(*objects))
    (folder / "ImageSets/Main/train.txt").write_text("2008_000003\n2007_000027\n")
    (folder / "ImageSets/Main/val.txt").write_text("2007_000032\n")
    return folder


@pytest.mark.parametrize("split", ["train", "val"])
def test_images_and_classes_are_those_of_torchvision(voc, split):
    labels, listed = listing(f"voc:{voc}?split={split}")
    theirs = VOCDetection(voc.parent.parent, year="2012", image_set=split)
    expected = {}
    for image, file in zip(theirs.images, theirs.annotations, strict=True):
        objects = VOCDetection.parse_voc_xml(ElementTree.parse(file).getroot())
        objects = objects["annotation"]["object"]
        expected[image.rpartition("/")[2]] = list(dict.fromkeys(one["name"] for one in objects))
    assert labels == expected
    assert list(labels) == list(expected)
    assert listed.classes == {name: number for number, name in enumerate(VOC_CLASSES)}
    assert listed.classes["tvmonitor"] == 19
    assert listed.n_faults == 0


def test_difficult_objects_can_be_left_out(voc):
    labels, _ = listing(f"voc:{voc}")
    assert labels == {
        "2007_000027.jpg": ["person", "sofa"],
        "2007_000032.jpg": ["tvmonitor"],
        "2008_000003.jpg": ["dog", "cat", "person"],
    }
    assert listing(voc)[0] == listing(voc.parent)[0] == listing(voc.parent.parent)[0] == labels
    without = f"voc:{voc}?difficult=0"
    assert listing(without)[0] == labels | {"2007_000027.jpg": ["sofa"], "2007_000032.jpg": []}
    listed = Listed()
    given = Dataset(without, RunConfig(labels="given"))
    assert sum(table.num_rows for table in given.tables(listed)) == 2
    assert listed.unlabelled == 1


def test_splits(voc, tmp_path):
    lists = voc / "ImageSets" / "Main"
    (lists / "dog_train.txt").write_text("2007_000027 -1\n2008_000003  1\n2007_000032  0\n")
    sure = f"voc:{voc}?split=dog_train&difficult=0"
    assert list(listing(sure)[0]) == ["2008_000003.jpg"]
    assert len(listing(f"voc:{voc}?split=dog_train")[0]) == 2
    (voc / "ImageSets" / "Segmentation").mkdir()
    (voc / "ImageSets" / "Segmentation" / "trainval.txt").write_text("2007_000032\n\n")
    assert list(listing(f"voc:{voc}?split=Segmentation/trainval")[0]) == ["2007_000032.jpg"]
    pairs = "/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png\n"
    (tmp_path / "train_aug.txt").write_text(pairs)
    assert list(listing(f"voc:{voc}?split={tmp_path}/train_aug.txt")[0]) == ["2007_000032.jpg"]
    (lists / "twice.txt").write_text("2008_000003\n2007_000027\n2008_000003\n")
    labels, listed = listing(f"voc:{voc}?split=twice")
    assert list(labels) == ["2008_000003.jpg", "2007_000027.jpg"]
    assert listed.duplicates == 1


def test_other_classes_are_numbered_by_name(voc):
    (voc / "Annotations" / "2007_000032.xml").write_text(annotation(item("zebra"), item("cat")))
    assert listing(f"voc:{voc}")[1].classes == {
        name: number for number, name in enumerate(["cat", "dog", "person", "sofa", "zebra"])
    }


def test_images_of_a_test_have_no_labels(voc):
    (voc / "ImageSets/Main/test.txt").write_text("2012_1\n2012_2\n")
    for name in ("2012_1", "2012_2"):
        Image.new("RGB", (30, 20)).save(voc / "JPEGImages" / f"{name}.png")
    labels, listed = listing(f"voc:{voc}?split=test")
    assert labels == {"2012_1.png": None, "2012_2.png": None}
    assert listed.n_faults == 0
    with pytest.raises(SessError, match="carries no labels; run with --labels predicted"):
        Dataset(f"voc:{voc}?split=test", RunConfig(labels="given")).tables()
    assert listing(f"voc:{voc}")[0]["2012_1.png"] == []  # beside images that have some
    for file in (voc / "Annotations").iterdir():
        file.unlink()
    (voc / "Annotations").rmdir()
    assert set(map(str, listing(f"voc:{voc}")[0].values())) == {"None"}


def test_what_makes_no_sense_is_named_and_the_rest_goes_on(voc):
    folder = voc / "Annotations"
    (folder / "2007_000027.xml").write_text(annotation(item("sofa"))[:-20])
    boxes = [(1, 1, 31, 20), (-2, 1, 5, 5), (9, 1, 5, 5), (1, 1, 5, "nan"), ("", 1, 5, 5)]
    odd = [item(f"c{number}", box) for number, box in enumerate(boxes)]
    nameless = ["<object>\n<name> </name></object>\n", item("dog"), "<object><name>cat</name>"]
    (folder / "2007_000032.xml").write_text(annotation(*odd, *nameless, "</object>"))
    Image.new("RGB", (30, 20)).save(voc / "JPEGImages" / "2007_000027.png")
    (voc / "ImageSets/Main/train.txt").write_text("2008_000003\nghost\n2007_000027\n2007_000032\n")
    labels, listed = listing(f"voc:{voc}?split=train")
    assert labels == {
        "2008_000003.jpg": ["dog", "cat", "person"],
        "ghost.jpg": [],
        "2007_000027.jpg": [],
        "2007_000032.jpg": ["c0", "c1", "c2", "c3", "c4", "dog", "cat"],
    }
    size, xml = "lies outside the image of 30x20 pixels", f"{folder}/2007_000032.xml"
    first, ghost, cut, *rest = listed.faults
    assert first == (
        f"{voc}/JPEGImages/2007_000027.png: 2007_000027.jpg has the same id; it is left out"
    )
    assert ghost == (
        f"{voc}/ImageSets/Main/train.txt: line 2: {folder}/ghost.xml does not exist; "
        "the image has no label"
    )
    assert cut.startswith(
        f"{folder}/2007_000027.xml: not an annotation in XML, unclosed token: line 4"
    )
    assert cut.endswith("; the image has no label")
    assert rest == [
        f"{xml}: line 3: box (1, 1, 31, 20) {size} of 'c0'; its label stays",
        f"{xml}: line 5: box (-2, 1, 5, 5) {size} of 'c1'; its label stays",
        f"{xml}: line 7: box (9, 1, 5, 5) {size} of 'c2'; its label stays",
        f"{xml}: line 9: (1, 1, 5, nan) is no box of 'c3'; its label stays",
        f"{xml}: line 11: (, 1, 5, 5) is no box of 'c4'; its label stays",
        f"{xml}: line 13: an object has no name; it is left out",
    ]


def test_entities_are_not_expanded(voc):
    lines = [f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "ha" * 99}">' for n in range(12)]
    bomb = f"<!DOCTYPE annotation [{''.join(lines)}]>" + annotation(item("&e11;"))
    (voc / "Annotations" / "2007_000027.xml").write_text(bomb)
    deep = "<annotation>" + "<object>" * 50_000
    (voc / "Annotations" / "2007_000032.xml").write_text(deep)
    began = time.monotonic()
    labels, listed = listing(f"voc:{voc}")
    assert time.monotonic() - began < 5
    assert labels["2008_000003.jpg"] == ["dog", "cat", "person"]
    assert "2007_000027.xml: not an annotation in XML, it declares an entity" in listed.faults[0]
    assert "2007_000032.xml: not an annotation in XML, no element found" in listed.faults[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("?split=trian", r"ImageSets/Main: unknown split 'trian'; did you mean 'train'"),
        ("?split=Layout/train", "ImageSets/Layout holds no split; without .* every image"),
        ("?split=none.txt", r"none\.txt does not exist"),
        ("?year=2007", "is of the year 2012, not 2007"),
        ("?difficult=yes", "difficult must be 0 or 1 but is 'yes'"),
        ("/Annotations", "holds neither JPEGImages nor a folder such as VOC2012"),
        ("/none", "there is no such folder"),
    ],
)
def test_what_cannot_be_read_is_named(voc, options, said):
    with pytest.raises(SessError, match=said):
        listing(f"voc:{voc}{options}")


def test_a_devkit_with_two_years(voc):
    (voc.parent / "VOC2007" / "JPEGImages").mkdir(parents=True)
    Image.new("RGB", (30, 20)).save(voc.parent / "VOC2007" / "JPEGImages" / "000001.jpg")
    with pytest.raises(SessError, match=r"holds 2007, 2012; choose with \?year=2012"):
        listing(f"voc:{voc.parent}")
    assert len(listing(f"voc:{voc.parent}?year=2012")[0]) == 3
    assert listing(f"voc:{voc.parent.parent}?year=2007")[0] == {"000001.jpg": None}
    with pytest.raises(SessError, match="unknown year '2010'; did you mean"):
        listing(f"voc:{voc.parent}?year=2010")


def test_a_store(voc, store):
    here = Folder.of("s3://bucket/VOC2012")
    for path in voc.rglob("*.*"):
        here.write(path.relative_to(voc).as_posix(), path.read_bytes())
    store.fail_next("GET", "2008_000003.xml", "cut", "503")
    rows = [row for table in open_source("s3://bucket/VOC2012") for row in table.to_pylist()]
    assert {row["image_id"]: row["labels"] for row in rows} == listing(f"voc:{voc}")[0]
    assert rows[0]["uri"] == "s3://bucket/VOC2012/JPEGImages/2007_000027.jpg"
    assert sum(store.injected.values()) == 2
    labels, _ = listing("voc:s3://bucket/VOC2012?split=val")
    assert labels == {"2007_000032.jpg": ["tvmonitor"]}

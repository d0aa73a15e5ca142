import json
from itertools import count

import pytest
from pycocotools.coco import COCO

from pipeline import RunConfig
from pipeline.files import Folder
from pipeline.planning import Dataset
from pipeline.sources import Listed, open_source
from sess_kernels import SessError


def listing(source):
    listed = Listed()
    rows = [row for table in open_source(str(source), listed) for row in table.to_pylist()]
    return {row["image_id"]: row["labels"] for row in rows}, listed


def images(*names):
    return [
        {"id": 10 * number, "file_name": name, "height": 20, "width": 30}
        for number, name in enumerate(names, 1)
    ]


def annotation(image_id, category_id, box=(1, 1, 5, 5), crowd=0):
    square = [1, 1, 5, 1, 5, 5, 1, 5]
    said = {"bbox": [*box], "iscrowd": crowd, "segmentation": [square], "area": 16.0}
    return {"id": next(NUMBERS), "image_id": image_id, "category_id": category_id} | said


NUMBERS = count(1)
CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 90, "name": "brush"}]


@pytest.fixture
def write(tmp_path):
    """Writes ``annotations/instances_val2017.json`` beside a folder ``val2017``."""
    (tmp_path / "val2017").mkdir()
    (tmp_path / "annotations").mkdir()
    path = tmp_path / "annotations" / "instances_val2017.json"

    def dump(**sections):
        path.write_text(json.dumps(sections))
        return path

    return dump


@pytest.fixture
def whole(write):
    annotations = [annotation(10, 90), annotation(30, 18, crowd=1), annotation(10, 1)]
    annotations += [annotation(10, 90, (7, 7, 23, 13)), annotation(30, 18)]
    names = images("000009.jpg", "000025.jpg", "sub/000030.jpg")
    return write(images=names, annotations=annotations, categories=CATEGORIES)


def test_images_and_categories_are_those_of_pycocotools(whole):
    labels, listed = listing(f"coco:{whole}")
    theirs = COCO(whole)
    expected = {}
    for image in theirs.loadImgs(theirs.getImgIds()):
        found = theirs.loadAnns(theirs.getAnnIds(image["id"]))
        ids = sorted({one["category_id"] for one in found})
        expected[image["file_name"]] = [one["name"] for one in theirs.loadCats(ids)]
    assert labels == expected
    assert labels == {
        "000009.jpg": ["person", "brush"],
        "000025.jpg": [],
        "sub/000030.jpg": ["dog"],
    }
    assert listed.classes == {one["name"]: one["id"] for one in theirs.dataset["categories"]}
    assert listed.n_faults == listed.duplicates == 0
    given = Dataset(str(whole), RunConfig(labels="given"))
    assert sum(table.num_rows for table in given.tables(listed)) == 2
    assert listed.unlabelled == 1


def test_where_the_images_are(whole, tmp_path):
    def uri(source):
        return next(open_source(source))["uri"][0].as_py()

    assert uri(f"coco:{whole}") == f"{tmp_path}/val2017/000009.jpg"
    (tmp_path / "elsewhere").mkdir()
    assert uri(f"{whole}?images={tmp_path}/elsewhere") == f"{tmp_path}/elsewhere/000009.jpg"
    (tmp_path / "val2017").rmdir()
    with pytest.raises(SessError, match=r"images are in none of .*val2017, .*; give \?images=FOLD"):
        uri(str(whole))
    (whole.parent / "000025.jpg").write_bytes(b"")
    assert uri(str(whole)) == f"{whole.parent}/000009.jpg"
    (tmp_path / "images" / "val2017").mkdir(parents=True)
    assert uri(str(whole)) == f"{tmp_path}/images/val2017/000009.jpg"
    with pytest.raises(SessError, match="coco:none: there is no such folder"):
        uri(f"{whole}?images=none")


def test_images_that_are_named_otherwise(write):
    lvis = {"id": 1, "coco_url": "http://images.cocodataset.org/val2017/000000397133.jpg"}
    named = [{"id": 2, "file_name": "/data/2.jpg"}, {"id": 3, "file_name": "https://host/3.jpg"}]
    path = write(images=[lvis, *named])
    folder = path.parent.parent
    rows = next(open_source(f"{path}?images={folder}")).to_pylist()
    assert [row["uri"] for row in rows] == [
        f"{folder}/val2017/000000397133.jpg",
        "/data/2.jpg",
        "https://host/3.jpg",
    ]
    assert rows[0]["image_id"] == "val2017/000000397133.jpg"


def test_images_of_a_test_have_no_labels(write):
    path = write(images=images("1.jpg", "2.jpg"), categories=CATEGORIES)
    labels, listed = listing(path)
    assert labels == {"1.jpg": None, "2.jpg": None}
    assert listed.classes == {"dog": 18, "person": 1, "brush": 90}


def test_annotations_that_make_no_sense_are_named_and_the_rest_goes_on(write):
    boxes = [(27, 2, 5, 5), (-3, 1, 2, 2), (1, 1, -1, 2), (1, 2, 3), ("a", 1, 1, 1), (0, 0, 31, 21)]
    odd = [annotation(99, 18), annotation(10, 77), {"image_id": 10}, {"category_id": 1}, 7]
    odd += [annotation(20, 18, box) for box in boxes]
    path = write(
        images=images("1.jpg", "2.jpg"),
        annotations=[*odd, annotation(10, [1]), annotation(10, 1)],
        categories=CATEGORIES,
    )
    labels, listed = listing(path)
    assert labels == {"1.jpg": ["person"], "2.jpg": ["dog"]}
    size = "outside its image 2.jpg of 30x20 pixels; its label stays"
    said = [
        "annotations[0] is of the unknown image 99; it is left out",
        "annotations[1] is of the unknown category 77; it is left out",
        "annotations[2] has no category_id; it is left out",
        "annotations[3] has no image_id; it is left out",
        "annotations[4] is no annotation; it is left out",
        f"annotations[5] has the box [27, 2, 5, 5] {size}",
        f"annotations[6] has the box [-3, 1, 2, 2] {size}",
        f"annotations[7] has the box [1, 1, -1, 2] {size}",
        f"annotations[8] has the box [1, 2, 3] {size}",
        f"annotations[9] has the box ['a', 1, 1, 1] {size}",
        "annotations[11] has no category_id; it is left out",
    ]
    assert listed.faults == [f"{path}: {one}" for one in said]


def test_images_and_categories_that_make_no_sense_are_named(write):
    entries = [*images("1.jpg", "2.jpg", "2.jpg", ""), {"file_name": "5.jpg"}, 6]
    entries += [{"id": 10, "file_name": "7.jpg"}, {"id": 10, "file_name": "1.jpg"}]
    categories = [*CATEGORIES, {"id": 4}, {"id": 18, "name": "cat"}, {"name": "cow"}, None]
    categories += [{"id": 91, "name": "dog"}]
    pairs = [(10, 91), (10, 18), (20, 4), (30, 1), (40, 1)]
    path = write(
        images=entries,
        annotations=[annotation(*pair) for pair in pairs],
        categories=categories,
    )
    labels, listed = listing(path)
    assert labels == {"1.jpg": ["dog"], "2.jpg": ["person"]}
    assert listed.duplicates == 2  # 2.jpg under another id, 1.jpg under its own
    assert listed.classes == {"dog": 18, "person": 1, "brush": 90}
    said = [
        "images[3] has no file_name; it is left out with its annotations",
        "images[4] has no id; it is left out",
        "images[5] has no id; it is left out",
        "images[6] has the id 10 of another; it is left out",
        "categories[3] has no name; it is left out with its annotations",
        "categories[4] has the id 18 of another; it is left out",
        "categories[5] has no id that is a whole number; it is left out",
        "categories[6] has no id that is a whole number; it is left out",
        "categories[7] has the name of category 18; both are taken for one",
    ]
    assert listed.faults == [f"{path}: {one}" for one in said]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"images": [\n{"id": 1,}]}', "is no JSON: .*: line 2 column 10"),
        ('{"images": [{"id": 1', "is no JSON: .*: line 1 column 21 .*; is the file whole"),
        ("[" * 100_000, "nested too deep"),
        ("[1, 2]", "is no COCO dataset: it has no list 'images'"),
        ('{"images": {"a": 1}}', "'images' must be a list but is dict"),
        ('{"images": [], "annotations": 3}', "'annotations' must be a list but is int"),
        (b"\xff\xfe", "cannot be read: 'utf-8' codec can't decode"),
        (None, "does not exist; check the path"),
    ],
)
def test_what_cannot_be_read_is_named(write, content, said):
    path = write()
    path.unlink() if content is None else path.write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    with pytest.raises(SessError, match=said) as caught:
        listing(f"coco:{path}")
    assert str(path) in str(caught.value)


def test_a_store(whole, store):
    bucket = Folder.of("s3://bucket/coco")
    bucket.write("annotations/instances_val2017.json", whole.read_bytes())
    bucket.write("val2017/000009.jpg", b"x")
    store.fail_next("GET", "instances_val2017.json", "cut", "503")
    [table] = open_source("s3://bucket/coco/annotations/instances_val2017.json")
    assert table["labels"].to_pylist() == [["person", "brush"], [], ["dog"]]
    assert table["uri"][0].as_py() == "s3://bucket/coco/val2017/000009.jpg"
    assert sum(store.injected.values()) == 2
    source = "coco:s3://bucket/coco/annotations/instances_val2017.json?images=s3://bucket/coco"
    assert next(open_source(source))["uri"][0].as_py() == "s3://bucket/coco/000009.jpg"

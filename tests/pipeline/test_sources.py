import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.labels import LabelResolver, attach
from pipeline.records import SourceRow
from pipeline.sources import open_source, read_labels
from sess_kernels import SessError


def test_folder_lists_images_at_any_depth_in_order(photo_folder):
    rows = list(open_source(str(photo_folder)))
    ids = [row.image_id for row in rows]
    assert ids == sorted(ids)
    assert set(ids) == {
        "blocks.bmp",
        "cat.jpg",
        "coffee.webp",
        "cut.jpg",
        "not.jpg",
        "sub/small.png",
    }
    assert all(row.labels is None for row in rows)
    assert [r.uri for r in open_source(f"folder:{photo_folder}/")] == [r.uri for r in rows]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_tables(tmp_path, ending):
    path = tmp_path / f"list.{ending}"
    rows = [
        {"image": "a/1.jpg", "label": "7"},
        {"image": "https://host/2.jpg", "label": "cat|3"},
        {"image": "/data/3.jpg", "label": "dog"},
    ]
    if ending == "csv":
        lines = [",".join(row.values()) for row in rows]
        path.write_text("\n".join(["image,label", *lines]) + "\n")
    elif ending == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    found = list(open_source(f"table:{path}"))
    assert [row.labels for row in found] == [(7,), ("cat", 3), ("dog",)]
    assert [row.image_id for row in found] == [row["image"] for row in rows]
    assert found[0].uri.endswith(f"{tmp_path}/a/1.jpg")
    assert found[1].uri == "https://host/2.jpg"


def test_lists_of_labels_and_own_ids(tmp_path):
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"image": ["1.jpg"], "image_id": [5], "labels": [[1, 2]]}), path)
    [row] = open_source(str(path))
    assert (row.image_id, row.labels) == ("5", (1, 2))


def test_labels_of_one_image_come_together(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("image,label\n1.jpg,3\n2.jpg,4\n1.jpg,5\n1.jpg,3\n")
    assert read_labels(str(path)) == {"1.jpg": (3, 5), "2.jpg": (4,)}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: str(p / "none"), "folder .*none does not exist"),
        (lambda p: str(p), "holds no image"),
        (lambda p: f"folder:{p / 'x.csv'}", "is a file, not a folder"),
        (lambda p: f"table:{p / 'none.csv'}", "table .*none.csv does not exist"),
        (lambda p: f"table:{p / 'x.csv'}", "needs a column 'image' but has: picture"),
        (lambda p: f"table:{p / 'x.xls'}", "unknown kind of table '.xls'"),
        (lambda p: f"tabel:{p}", "did you mean 'table'"),
        (lambda p: "what://bucket/photos", "what://bucket/photos cannot be opened"),
        (lambda p: f"table:{p / 'struct.parquet'}", "'image' must hold paths or URIs but holds"),
        (lambda p: f"table:{p / 'bad.parquet'}", "bad.parquet cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, make, said):
    (tmp_path / "x.csv").write_text("picture,label\n1.jpg,3\n")
    images = pa.table({"image": [{"bytes": b"x", "path": None}]})
    pq.write_table(images, tmp_path / "struct.parquet")
    (tmp_path / "bad.parquet").write_text("nonsense")
    with pytest.raises(SessError, match=said) as caught:
        list(open_source(make(tmp_path)))
    assert "\n" not in str(caught.value)


def _rows(*names):
    return [SourceRow(name, f"/{name}") for name in names]


def test_labels_for_images_that_do_not_exist_are_named():
    attached = attach(_rows("a.jpg"), {"a.jpg": (1,), "ghost.jpg": (2,)}, "labels.csv")
    with pytest.raises(SessError, match=r"labels\.csv has labels for 1 of 2 .*: ghost\.jpg"):
        list(attached)


def test_images_that_the_labels_do_not_list_are_left_out_and_counted(caplog):
    found = list(attach(_rows("x/a.jpg", "b.jpg"), {"a.jpg": (1,)}, "labels.csv"))
    assert [(row.image_id, row.labels) for row in found] == [("x/a.jpg", (1,))]
    assert caplog.messages == ["1 images have no label in labels.csv and are left out"]


def test_a_file_name_that_two_images_have_is_refused():
    with pytest.raises(SessError, match=r"1\.jpg stands for a/1\.jpg and b/1\.jpg"):
        list(attach(_rows("a/1.jpg", "b/1.jpg"), {"1.jpg": (1,)}, "labels.csv"))
    found = attach(_rows("a/1.jpg", "b/1.jpg"), {"./a/1.jpg": (1,), "b/1.jpg": (2,)}, "l.csv")
    assert [row.labels for row in found] == [(1,), (2,)]


def test_resolver():
    resolve = LabelResolver(["cat", "dog", "crane", "crane"], "toy")
    assert resolve("i", ("Dog", 0, 1)) == [1, 0]
    for labels, said in [
        ((4,), "image i has class index 4 but backbone toy has classes 0 to 3"),
        ((-1,), "classes 0 to 3"),
        (("dgo",), "did you mean 'dog'"),
        (("crane",), r"stands for the indices \[2, 3\]"),
        ((), "has no label"),
    ]:
        with pytest.raises(SessError, match=said):
            resolve("i", labels)

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.labels import attach
from pipeline.records import SOURCE_SCHEMA
from pipeline.sources import Listed, first_rows, open_source, read_labels
from sess_kernels import SessError


def rows_of(source):
    return [row for table in open_source(str(source)) for row in table.to_pylist()]


def column(source, name):
    return [row[name] for row in rows_of(source)]


def test_folder_lists_images_at_any_depth_in_order(photo_folder):
    (photo_folder / "sub.png").write_bytes(b"")  # between "sub" and "sub/" in some orders
    ids = column(photo_folder, "image_id")
    assert ids == sorted(ids)
    assert set(ids) == {
        "blocks.bmp",
        "cat.jpg",
        "coffee.webp",
        "cut.jpg",
        "not.jpg",
        "sub.png",
        "sub/small.png",
    }
    assert set(column(photo_folder, "labels")) == {None}
    assert column(photo_folder, "uri") == [f"{photo_folder}/{name}" for name in ids]
    assert column(f"folder:{photo_folder}/", "uri") == column(photo_folder, "uri")


def test_links_to_folders_are_not_followed(photo_folder):
    (photo_folder / "sub" / "loop").symlink_to(photo_folder)
    (photo_folder / "link.png").symlink_to(photo_folder / "sub" / "small.png")
    assert column(photo_folder, "image_id")[-1] == "sub/small.png"
    assert "link.png" in column(photo_folder, "image_id")


def test_a_file_name_that_is_no_text_is_refused(tmp_path):
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.jpg", os.O_CREAT))
    with pytest.raises(SessError, match="is not UTF-8; rename it"):
        rows_of(tmp_path)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_tables(tmp_path, ending):
    path = tmp_path / f"list.{ending}"
    rows = [
        {"image": "a/1.jpg", "label": "7", "height": 30, "width": 40},
        {"image": "https://host/2.jpg", "label": "cat|3", "height": 0, "width": 40},
        {"image": "/data/3.jpg", "label": " dog ", "height": 3, "width": None},
        {"image": "4:3.jpg", "label": "", "height": 1, "width": 1},
    ]
    if ending == "csv":
        lines = [",".join("" if v is None else str(v) for v in row.values()) for row in rows]
        path.write_text("\n".join(["image,label,height,width", *lines]) + "\n")
    elif ending == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    table = pa.concat_tables(open_source(f"table:{path}"))
    assert table.schema == SOURCE_SCHEMA
    assert table["labels"].to_pylist() == [["7"], ["cat", "3"], ["dog"], []]
    assert table["image_id"].to_pylist() == [row["image"] for row in rows]
    assert table["height"].to_pylist() == [30, None, None, 1]
    assert table["width"].to_pylist() == [40, None, None, 1]
    assert table["uri"].to_pylist() == [
        f"{tmp_path}/a/1.jpg",
        "https://host/2.jpg",
        "/data/3.jpg",
        f"{tmp_path}/4:3.jpg",
    ]


def test_columns_of_other_types(tmp_path):
    path = tmp_path / "list.parquet"
    columns = {
        "image": pa.array(["1.jpg", "2.jpg"]).dictionary_encode(),
        "image_id": [5, None],
        "labels": pa.array([[1, 2], None]),
        "height": [np.nan, 7.0],
        "width": [3.0, 2.5],
    }
    pq.write_table(pa.table(columns), path)
    assert column(path, "image_id") == ["5", "2.jpg"]
    assert column(path, "labels") == [["1", "2"], []]
    assert column(path, "height") == [None, None]
    pq.write_table(pa.table({"image": ["1.jpg"], "label": [3]}), path)
    assert column(path, "labels") == [["3"]]


def test_lines_of_json_may_differ_in_what_they_hold(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.sources.table._BUFFER", 64)
    lines = [{"image": f"{n:02d}.jpg", "label": n if n < 9 else f"class {n}"} for n in range(20)]
    lines.append({"image": "no label.jpg"})
    lines.append({"image": "x.jpg", "image_id": "2024-05-01", "label": "y" * 200})
    path = tmp_path / "list.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    found = rows_of(path)
    labels = [str(n) if n < 9 else f"class {n}" for n in range(20)]
    assert [row["labels"] for row in found[:20]] == [[label] for label in labels]
    assert not found[20]["labels"]
    assert (found[21]["image_id"], found[21]["labels"]) == ("2024-05-01", ["y" * 200])


def test_csv_of_columns_that_change_their_kind(tmp_path):
    rows = [f"{n}.jpg,{n},{n if n < 90_000 else 'note'}" for n in range(100_000)]
    (tmp_path / "list.csv").write_text("\n".join(["image,label,remark", *rows]))
    tables = list(open_source(str(tmp_path / "list.csv")))
    assert max(table.num_rows for table in tables) <= 65_536
    labels = [label for table in tables for label in table["labels"].to_pylist()]
    assert labels == [[str(n)] for n in range(100_000)]


def test_a_table_is_read_as_it_is_asked_for(tmp_path, monkeypatch):
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"image": [f"{n}.jpg" for n in range(1000)]}), path)
    monkeypatch.setattr("pipeline.sources.table.TABLE_ROWS", 100)
    tables = open_source(str(path))
    assert [table.num_rows for table in first_rows(tables, 250)] == [100, 100, 50]
    assert next(tables)["image_id"][0].as_py() == "300.jpg"


def test_labels_of_one_image_come_together(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("image,label\n1.jpg,3\n2.jpg,4\n1.jpg,5\n1.jpg,3\n")
    assert read_labels(str(path)) == {"1.jpg": ("3", "5"), "2.jpg": ("4",)}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: str(p / "none"), "folder .*none does not exist"),
        (lambda p: f"folder:{p}", "holds no image"),
        (lambda p: f"folder:{p / 'x.csv'}", "is a file, not a folder"),
        (lambda p: f"table:{p / 'none.csv'}", "table .*none.csv does not exist"),
        (lambda p: f"table:{p / 'x.csv'}", "needs a column 'image' but has: picture, label"),
        (lambda p: f"table:{p / 'x.xls'}", "unknown kind of table '.xls'"),
        (lambda p: f"tabel:{p}", "did you mean 'table'"),
        (lambda p: "what://bucket/photos", "what://bucket/photos cannot be opened"),
        (lambda p: f"table:{p / 'struct.parquet'}", "must hold paths, URIs or.* but holds struct"),
        (lambda p: f"table:{p / 'bad.parquet'}", "bad.parquet cannot be read"),
        (lambda p: f"table:{p / 'gap.csv'}", "row 3 names no image; fill the column 'image'"),
        (lambda p: f"table:{p / 'ragged.csv'}", "ragged.csv cannot be read: .*Expected 2 columns"),
        (lambda p: f"table:{p / 'tall.csv'}", "tall.csv cannot be read: .*invalid value 'tall'"),
        (lambda p: f"table:{p / 'bad.jsonl'}", "bad.jsonl cannot be read: JSON parse error"),
        (lambda p: f"table:{p / 'tall.jsonl'}", "column 'height' must hold pixels: .*'tall'"),
        (lambda p: f"table:{p / 'what.jsonl'}", "column 'label' must hold text or numbers but"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, make, said):
    (tmp_path / "x.csv").write_text("picture,label\n1.jpg,3\n")
    (tmp_path / "gap.csv").write_text("image,label\n1.jpg,3\n,4\n")
    (tmp_path / "ragged.csv").write_text("image,label\n1.jpg,3\n2.jpg\n")
    (tmp_path / "tall.csv").write_text("image,height,width\n1.jpg,tall,3\n")
    (tmp_path / "bad.jsonl").write_text('{"image": "1.jpg"}\n{"image"\n')
    (tmp_path / "tall.jsonl").write_text('{"image": "1.jpg", "height": "tall", "width": 1}\n')
    (tmp_path / "what.jsonl").write_text('{"image": "1.jpg", "label": {"a": 1}}\n')
    images = pa.table({"image": [{"path": "1.jpg"}]})
    pq.write_table(images, tmp_path / "struct.parquet")
    (tmp_path / "bad.parquet").write_text("nonsense")
    with pytest.raises(SessError, match=said) as caught:
        rows_of(make(tmp_path))
    assert "\n" not in str(caught.value)


def _tables(*names):
    rows = [{"image_id": name, "uri": f"/{name}"} for name in names]
    return [pa.Table.from_pylist([row], SOURCE_SCHEMA) for row in rows]


def _labelled(tables, labels, listed=None):
    tables = attach(tables, labels, "labels.csv", listed or Listed())
    found = [row for table in tables for row in table.to_pylist()]
    return [(row["image_id"], row["labels"]) for row in found]


def test_labels_for_images_that_do_not_exist_are_named():
    with pytest.raises(SessError, match=r"labels\.csv has labels for 1 of 2 .*: ghost\.jpg"):
        _labelled(_tables("a.jpg"), {"a.jpg": ("1",), "ghost.jpg": ("2",)})


def test_images_that_the_labels_do_not_list_are_left_out_and_counted():
    listed = Listed()
    found = _labelled(_tables("x/a.jpg", "b.jpg"), {"a.jpg": ("1",)}, listed)
    assert found == [("x/a.jpg", ["1"])]
    assert listed.unlabelled == 1


def test_a_file_name_that_two_images_have_is_refused():
    with pytest.raises(SessError, match=r"1\.jpg stands for a/1\.jpg and b/1\.jpg"):
        _labelled(_tables("a/1.jpg", "b/1.jpg"), {"1.jpg": ("1",)})
    found = _labelled(_tables("a/1.jpg", "b/1.jpg"), {"./a/1.jpg": ("1",), "b/1.jpg": ("2",)})
    assert found == [("a/1.jpg", ["1"]), ("b/1.jpg", ["2"])]

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.images import read_rgb
from pipeline.sources import Listed
from pipeline.sources.hf import read_hf
from sess_kernels import SessError

datasets = pytest.importorskip("datasets")

CLASSES = ["tabby cat", "dog", "fox"]


def rows_of(path, listed=None):
    return pa.concat_tables(read_hf(str(path), listed or Listed())).to_pylist()


def column(path, name):
    return [row[name] for row in rows_of(path)]


@pytest.fixture
def photos(draw):
    return [Image.fromarray(draw(20 + number, 30, seed=number)) for number in range(10)]


def written(path, columns, features=None):
    """A file as ``datasets`` writes it; columns of PIL images are images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = datasets.Dataset.from_dict(columns)
    for name, feature in (features or {}).items():
        made = made.cast_column(name, feature)
    made.to_parquet(str(path))
    return path


def plain(path, columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("several", [False, True])
def test_rows_are_those_of_datasets(photos, tmp_path, several, monkeypatch):
    labels = [number % 3 for number in range(9)] + [-1]
    kind = datasets.ClassLabel(names=CLASSES)
    if several:
        labels = [[label, 0, label] if label >= 0 else [] for label in labels]
        kind = datasets.List(kind)
    columns = {"picture": photos, "kind": labels, "caption": ["x"] * 10}
    features = {"kind": kind, "picture": datasets.Image()}
    made = datasets.Dataset.from_dict(columns).cast_column("kind", kind)
    parts = [made.select(range(4)), made.select(range(4, 10))]
    files = [str(tmp_path / "data" / f"train-{n:05}-of-00002.parquet") for n in range(2)]
    (tmp_path / "data").mkdir()
    for part, file in zip(parts, files, strict=True):
        part.to_parquet(file)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "old.parquet").touch()
    listed = Listed()
    found = rows_of(tmp_path, listed)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    read = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert read.features["picture"] == features["picture"]
    assert len(found) == len(read) == 10
    for number, (row, expected) in enumerate(zip(found, read, strict=True)):
        file, inside = (0, number) if number < 4 else (1, number - 4)
        assert row["image_id"] == f"data/train-{file:05}-of-00002/{inside:08}"
        np.testing.assert_array_equal(read_rgb(row["uri"]), np.asarray(expected["picture"]))
        said = expected["kind"] if several else [expected["kind"]]
        assert row["labels"] == [CLASSES[one] for one in dict.fromkeys(said) if one >= 0]
    assert listed.classes == {name: number for number, name in enumerate(CLASSES)}
    assert listed.n_faults == 0


@pytest.mark.parametrize(
    ("columns", "features", "options", "labels"),
    [
        ({"label": [2, 0]}, {}, "", [["2"], ["0"]]),
        ({"label": [-1, 0]}, {}, "", [[], ["0"]]),
        ({"label": [" cat", None]}, {}, "", [["cat"], []]),
        ({"labels": [["a", "b", "a"], []]}, {}, "", [["a", "b"], []]),
        ({"fine": [1, 0], "other": [0.5, 1]}, {"fine": CLASSES}, "", [["dog"], ["tabby cat"]]),
        ({"fine": [1, 0], "coarse": [0, 0]}, {"fine": CLASSES}, "?label=coarse", [["0"], ["0"]]),
        ({"other": [0.5, 1]}, {}, "", None),
        ({"objects": [{"category": [4, 4, 1]}, {"category": []}]}, {}, "", [["4", "1"], []]),
        ({"objects": [[{"category": 4}, {"category": 1}], []]}, {}, "", [["4", "1"], []]),
        ({"a": [{"b": "x", "c": 1}, {"b": None, "c": 1}]}, {}, "?label=a.b", [["x"], []]),
    ],
)
def test_columns_of_labels(photos, tmp_path, columns, features, options, labels):
    kinds = {name: datasets.ClassLabel(names=names) for name, names in features.items()}
    written(tmp_path / "d" / "x.parquet", {"image": photos[:2]} | columns, kinds)
    found = column(f"{tmp_path / 'd'}{options}", "labels")
    assert found == (labels or [None, None])


@pytest.mark.parametrize("in_a_list", [False, True])
def test_classes_of_objects(photos, tmp_path, in_a_list):
    """As every version of ``datasets`` describes a list of structs."""
    kind = {"names": CLASSES, "_type": "ClassLabel"}
    if in_a_list:
        objects = [[{"category": 2}, {"category": 0}], []]
        told = {"feature": {"category": kind}, "_type": "List"}
    else:
        objects = [{"category": [2, 0]}, {"category": []}]
        told = {"category": {"feature": kind, "_type": "List"}}
        old = {"feature": {"category": kind}, "length": -1, "_type": "Sequence"}
    for feature in [told] if in_a_list else [told, old]:
        about = {"info": {"features": {"image": {"_type": "Image"}, "objects": feature}}}
        table = pa.table({"image": [{"bytes": b"x", "path": None}] * 2, "objects": objects})
        table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
        pq.write_table(table, tmp_path / "x.parquet")
        assert column(tmp_path / "x.parquet", "labels") == [["fox", "tabby cat"], []]


def test_splits_and_ids(photos, tmp_path):
    for name in ("data/train-00000-of-00002", "data/train-00001-of-00002", "data/test", "val/0000"):
        ids = [f"{name}: {number}" for number in range(2)]
        written(tmp_path / f"{name}.parquet", {"image": photos[:2], "name": ids})
    assert column(f"{tmp_path}?split=test", "image_id") == [
        "data/test/00000000",
        "data/test/00000001",
    ]
    assert column(f"{tmp_path}?split=val", "image_id") == ["val/0000/00000000", "val/0000/00000001"]
    found = column(f"{tmp_path}?split=train&id=name", "image_id")
    assert found == [f"data/train-0000{part}-of-00002: {row}" for part in (0, 1) for row in (0, 1)]
    assert len(rows_of(tmp_path)) == 8
    with pytest.raises(SessError, match="unknown split 'vall'; did you mean 'val'"):
        rows_of(f"{tmp_path}?split=vall")


def test_images_by_type_and_name(tmp_path):
    image = {"bytes": b"x", "path": "a.png"}
    plain(tmp_path / "a.parquet", {"x": [b"no"], "photo": [image], "n": [1]})
    assert column(tmp_path / "a.parquet", "uri") == [f"{tmp_path}/a.parquet#row=0&column=photo"]
    plain(tmp_path / "a.parquet", {"image": [b"x"], "other": [b"x"]})
    assert column(tmp_path / "a.parquet", "uri") == [f"{tmp_path}/a.parquet#row=0"]
    plain(tmp_path / "a.parquet", {"image": [image], "mask": [image]})
    assert column(tmp_path / "a.parquet", "uri") == [f"{tmp_path}/a.parquet#row=0"]
    found = column(f"{tmp_path / 'a.parquet'}?image=mask", "uri")
    assert found == [f"{tmp_path}/a.parquet#row=0&column=mask"]


def test_files_that_are_unlike_the_first(photos, tmp_path):
    kind = datasets.ClassLabel(names=CLASSES)
    turned = datasets.ClassLabel(names=CLASSES[::-1])
    one = {"image": photos[:1], "label": [0]}
    (tmp_path / "a.parquet").write_text("nonsense")
    written(tmp_path / "b.parquet", one, {"label": kind})
    plain(tmp_path / "c.parquet", {"picture": ["x"], "label": [1]})
    written(tmp_path / "d.parquet", one, {"label": turned})  # of another order
    written(tmp_path / "e.parquet", {"image": photos[:1]})
    plain(tmp_path / "f.parquet", {"image": [{"bytes": b"x", "path": ""}] * 2, "label": [1, 7]})
    listed = Listed()
    found = [(row["image_id"][0], row["labels"]) for row in rows_of(tmp_path, listed)]
    expected = [("b", ["tabby cat"]), ("d", ["fox"]), ("e", []), ("f", ["dog"]), ("f", [])]
    assert found == expected
    said = [
        "a.parquet: it cannot be read as Parquet: .*; it is left out",
        "c.parquet: there is no column 'image' but: picture, label; the file is left out",
        "e.parquet: there is no column 'label'; its images have no labels",
        "f.parquet#row=1: class 7 has no name among 3; it is left out",
    ]
    assert listed.n_faults == len(said)
    for fault, words in zip(listed.faults, said, strict=True):
        assert re.search(words, fault)


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ({"url": ["x"], "label": [1]}, "", "x.parquet: no column holds images but: url, label"),
        ({"url": ["x"]}, "?image=url", "column 'url' must hold images .bytes. but holds string"),
        ({"a": [b"x"]}, "?image=b", "x.parquet: there is no column 'b' but: a"),
        ({"image": [b"x"], "label": [0.5]}, "", "column 'label' must hold class names or indices"),
        ({"image": [b"x"], "kind": [1]}, "?label=kid", "unknown column of labels 'kid'; did you"),
        ({"image": [b"x"]}, "?id=name", "unknown column 'name'"),
        ({"image": [b"x"]}, "?labl=name", "unknown option 'labl'; did you mean 'label'"),
        ({"image": pa.array([], pa.binary())}, "", "holds no image"),
        ({"a": [{"bytes": b"x"}], "b": [{"bytes": b"x"}]}, "", "several columns .*: a, b; choose"),
    ],
)
def test_columns_that_do_not_serve(tmp_path, columns, options, said):
    plain(tmp_path / "x.parquet", columns)
    with pytest.raises(SessError, match=said):
        rows_of(f"{tmp_path}{options}")


def test_several_columns_of_classes(photos, tmp_path):
    kinds = {name: datasets.ClassLabel(names=CLASSES) for name in ("fine", "coarse")}
    written(tmp_path / "x.parquet", {"image": photos[:1], "fine": [0], "coarse": [1]}, kinds)
    with pytest.raises(SessError, match=r"hold classes: fine, coarse; choose with \?label=NAME"):
        rows_of(tmp_path)
    assert column(f"{tmp_path}?label=coarse", "labels") == [["dog"]]


def test_folders_without_parquet(photos, tmp_path):
    datasets.Dataset.from_dict({"image": photos[:1]}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(
        SessError, match=r"no \.parquet file but Arrow files .* write Parquet: datas"
    ):
        rows_of(tmp_path / "saved")
    with pytest.raises(SessError, match="there is no such folder; check the path"):
        rows_of(tmp_path / "none")
    (tmp_path / "a.parquet").write_text("nonsense")
    with pytest.raises(SessError, match=r"holds no image: .*a\.parquet: it cannot be read as Parq"):
        rows_of(tmp_path / "a.parquet")

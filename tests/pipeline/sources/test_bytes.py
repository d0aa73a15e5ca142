"""Images in tables, and the same maps whatever the images lie in."""

import io
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline import RunConfig, read_maps, run
from pipeline.files import Folder
from pipeline.images import read_rgb
from pipeline.read import read_rows
from pipeline.sources import open_source

N_IMAGES = 7


def rows_of(path):
    return pa.concat_tables(open_source(f"table:{path}")).to_pylist()


@pytest.fixture
def photos(draw, tmp_path):
    """Content by name; the images lie in a folder, too, and one of them is broken."""
    folder, found = tmp_path / "photos", {}
    folder.mkdir()
    for number in range(N_IMAGES):
        name = f"{number}.{'png' if number % 2 else 'jpg'}"
        Image.fromarray(draw(40 + number, 60, seed=number)).save(folder / name)
        found[name] = (folder / name).read_bytes()
    found["7.jpg"] = b"no image"
    (folder / "7.jpg").write_bytes(b"no image")
    return found


def structs(photos, paths=True):
    return [{"bytes": one, "path": name if paths else None} for name, one in photos.items()]


def as_tar(photos):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in photos.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_a_column_of_bytes(photos, tmp_path, kind):
    labels = [[str(number), "x"] for number in range(8)]
    columns = {"image": pa.array(photos.values(), kind), "labels": labels}
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=3)
    found = rows_of(path)
    assert [row["image_id"] for row in found] == [f"list-{n:08}" for n in range(8)]
    assert [row["uri"] for row in found] == [f"{path}#row={n}" for n in range(8)]
    assert [row["labels"] for row in found] == labels


def test_ids_of_structs(photos, tmp_path):
    path = tmp_path / "list.parquet"
    images = [*structs(photos)[:2], None, {"bytes": b"x", "path": None}, {"bytes": b"", "path": ""}]
    pq.write_table(pa.table({"image": images, "height": [40] * 5, "width": [60] * 5}), path)
    found = rows_of(path)
    made = [f"list-{number:08}" for number in (2, 3, 4)]
    assert [row["image_id"] for row in found] == ["0.jpg", "1.png", *made]
    assert {(row["height"], row["width"]) for row in found} == {(40, 60)}
    pq.write_table(pa.table({"image": images, "image_id": ["a", "b", "c", None, "e"]}), path)
    assert [row["image_id"] for row in rows_of(path)] == ["a", "b", "c", made[1], "e"]
    pq.write_table(pa.table({"image": [{"bytes": b"x"}]}), path)
    assert [row["image_id"] for row in rows_of(path)] == ["list-00000000"]


def test_images_named_in_a_column_of_structs(photos, tmp_path):
    path = tmp_path / "list.parquet"
    named = [{"bytes": None, "path": f"photos/{name}"} for name in photos]
    mixed = [*structs(photos)[:3], *named[3:]]
    pq.write_table(pa.table({"image": mixed}), path)
    for row, name in zip(rows_of(path)[:-1], photos, strict=False):
        np.testing.assert_array_equal(
            read_rgb(row["uri"]), read_rgb(str(tmp_path / "photos" / name))
        )


def test_bytes_are_not_read_to_list_rows(tmp_path, monkeypatch):
    path = tmp_path / "list.parquet"
    images = [{"bytes": bytes(2**20) + bytes([n]), "path": f"{n}.png"} for n in range(40)]
    columns = {"image": images, "label": [1] * 40}
    pq.write_table(pa.table(columns), path, compression="none", use_dictionary=False)
    monkeypatch.setattr("pipeline.sources.table._BUFFER", 2**16)
    before = pa.default_memory_pool().bytes_allocated()
    for table in open_source(str(path)):
        assert pa.default_memory_pool().bytes_allocated() - before < 2**21
        assert table.num_rows == 40


def test_several_tables_of_a_file(tmp_path, monkeypatch):
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"image": [b"x"] * 1000}), path)
    monkeypatch.setattr("pipeline.sources.table.TABLE_ROWS", 300)
    assert [row["uri"] for row in rows_of(path)] == [f"{path}#row={n}" for n in range(1000)]


@pytest.fixture
def settings(tiny_backbone, monkeypatch):
    monkeypatch.setattr("pipeline.shards.MIN_SHARD_PATCHES", 4)  # several shards of few images
    config = {"backbone": tiny_backbone, "labels": "predicted", "scales": 1, "engine": "local"}
    return RunConfig(**config, map_dtype="float32")


def maps_of(out, ids):
    """Maps by number of the image, and why an image failed."""
    found = {ids[one.image_id]: (one.class_index, one.score, one.map) for one in read_maps(out)}
    errors = [row["error"] for row in read_rows(out) if row["error"]]
    assert len(errors) == 1
    return found, errors[0]


def check_same(source, out, settings, expected, ids):
    summary = run(source, out, settings)
    assert (summary.images, summary.failed) == (N_IMAGES + 1, 1)
    found, error = maps_of(out, ids)
    assert found.keys() == expected.keys()
    for number, (index, score, values) in found.items():
        assert (index, score) == expected[number][:2]
        np.testing.assert_array_equal(values, expected[number][2])
    return error


def test_maps_do_not_depend_on_what_images_lie_in(photos, settings, store, tmp_path):
    run(str(tmp_path / "photos"), tmp_path / "o", settings)
    expected, _ = maps_of(tmp_path / "o", {name: n for n, name in enumerate(photos)})
    assert len(expected) == N_IMAGES
    (tmp_path / "a.tar").write_bytes(as_tar(photos))
    pq.write_table(pa.table({"image": structs(photos)}), tmp_path / "t.parquet", row_group_size=3)
    (tmp_path / "data").mkdir()
    columns = {"img": structs(photos, paths=False)}
    pq.write_table(pa.table(columns), tmp_path / "data" / "train.parquet")
    bucket = Folder.of("s3://bucket/set")
    bucket.write("a-0.tar", as_tar(photos))
    bucket.write("data/train.parquet", (tmp_path / "data" / "train.parquet").read_bytes())
    runs = [
        (f"wds:{tmp_path}/a.tar", "a/{name}", "a.tar#bytes="),
        (f"table:{tmp_path}/t.parquet", "{name}", "t.parquet#row=7 is no image"),
        (f"hf:{tmp_path}/data", "train/{n:08}", "train.parquet#row=7&column=img is no image"),
        ("wds:s3://bucket/set/a-{0..0}.tar", "a-0/{name}", "s3://bucket/set/a-0.tar#bytes="),
        ("hf:s3://bucket/set", "data/train/{n:08}", "set/data/train.parquet#row=7&column=img"),
    ]
    for number, (source, pattern, said) in enumerate(runs):
        ids = {pattern.format(name=name, n=n): n for n, name in enumerate(photos)}
        out = tmp_path / f"out-{number}"
        assert said in check_same(source, out, settings, expected, ids)
    again = run(source, out, settings)  # complete, and the same data
    assert (again.was_complete, again.images) == (True, N_IMAGES + 1)

"""Runs on an S3 store that falters: nothing lost, nothing twice, the same bits as on a disk."""

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline import RunConfig, read_maps, run
from pipeline.commit import committed, done_rows
from pipeline.files import Folder
from pipeline.lease import Lease, holder
from pipeline.read import read_rows
from pipeline.sources import open_source
from pipeline.stores import open_file, read_bytes
from sess_kernels import SessError

N_IMAGES = 8
OUT = "s3://bucket/run"
KINDS = ("500", "503", "late", "cut")


@pytest.fixture
def photos(store, draw, tmp_path):
    """The same photographs on a disk and in the store."""
    here = tmp_path / "photos"
    (here / "sub").mkdir(parents=True)
    for i in range(N_IMAGES):
        name = f"sub/{i:02}.png" if i % 3 == 0 else f"{i:02}.jpg"
        Image.fromarray(draw(40 + i, 60, seed=i)).save(here / name)
    (here / "broken.jpg").write_bytes(b"no image")
    folder = Folder.of("s3://bucket/photos")
    for path in here.rglob("*.*"):
        folder.write(path.relative_to(here).as_posix(), path.read_bytes())
    store.reset()
    return here


@pytest.fixture
def settings(tiny_backbone, monkeypatch):
    monkeypatch.setattr("pipeline.shards.MIN_SHARD_PATCHES", 4)  # several shards of few images
    monkeypatch.setattr("pipeline.lease._SETTLE_SECONDS", {True: 0.0, False: 0.0})
    return {
        "backbone": tiny_backbone,
        "labels": "predicted",
        "scales": 1,
        "format": "parquet,npy",
        "map_dtype": "float32",
    }


def check_same(expected, found):
    """The rows of two runs, bit for bit, but for the URIs of their images."""
    expected, found = (
        {row["image_id"]: row | {"uri": 0, "error": bool(row["error"])} for row in read_rows(out)}
        for out in (expected, found)
    )
    assert len(expected) == N_IMAGES + 1
    assert expected == found


@pytest.mark.slow
def test_a_run_on_a_store_that_falters(photos, store, settings, tmp_path):
    config = RunConfig(engine="local", **settings)
    run(str(photos), tmp_path / "here", config)
    store.fail_next("GET", "/photos/01.jpg", *["cut"] * 4)
    with store.falter(seed=3, rate=0.1) as injected:
        summary = run("s3://bucket/photos", OUT, config)
    assert all(injected[kind] > 0 for kind in KINDS), injected
    assert (summary.images, summary.failed, summary.resumed) == (N_IMAGES + 1, 1, 0)
    assert Counter(row["image_id"] for row in read_rows(OUT)).most_common(1)[0][1] == 1
    check_same(tmp_path / "here", OUT)
    records = list(read_maps(OUT))
    assert len(records) == N_IMAGES
    for record in records:
        path = f"{OUT}/npy/{record.image_id}/{record.class_index}.npy"
        with open_file(path) as file:
            np.testing.assert_array_equal(np.load(file), record.map)


@pytest.mark.slow
def test_a_run_that_broke_off_goes_on(photos, store, settings, tmp_path):
    config = RunConfig(engine="local", **settings)
    run("s3://bucket/photos", OUT, config)
    run(str(photos), tmp_path / "here", config)
    store.reset()
    again = run("s3://bucket/photos", OUT, config)  # complete: nothing is done
    assert again.images == N_IMAGES + 1
    assert store.count("PUT", "/run/maps") == store.count("GET", "/photos/") == 0
    lost = committed(Folder.of(OUT))[::2]
    n_lost = 0
    for name in lost:
        n_lost += pq.read_metadata(open_file(f"{OUT}/maps/{name}")).num_rows
        (Folder.of(OUT) / "maps").remove(name)
        (Folder.of(OUT) / "checkpoint").remove(name.replace("-0.parquet", ".parquet"))
    record = Folder.of(OUT).read("run.json").replace(b'"complete"', b'"running"')
    Folder.of(OUT).write("run.json", record)
    Folder.of(f"{OUT}/maps").write("half-0.parquet", b"x")  # of a driver that died
    Folder.of(f"{OUT}/checkpoint").write("half.pending.parquet", b"x")
    assert 0 < n_lost < N_IMAGES + 1
    summary = run("s3://bucket/photos", OUT, config)
    assert summary.resumed == N_IMAGES + 1 - n_lost
    check_same(tmp_path / "here", OUT)


@pytest.mark.slow
def test_a_driver_that_dies_between_copy_and_delete(photos, store, settings, tmp_path):
    config = RunConfig(engine="local", workers=1, **settings)
    run(str(photos), tmp_path / "here", config)
    store.fail_next("DELETE", "/checkpoint/", "403")
    with pytest.raises(SessError, match="ACCESS_DENIED"):
        run("s3://bucket/photos", OUT, config)
    markers = Folder.of(f"{OUT}/checkpoint").names()
    stems = Counter(name.removesuffix(".parquet").removesuffix(".pending") for name in markers)
    assert stems.most_common(1)[0][1] == 2  # pending and committed both
    [twice] = [stem for stem, n in stems.items() if n == 2]
    assert Folder.of(f"{OUT}/maps").exists(f"{twice}-0.parquet")
    assert f"{twice}-0.parquet" not in committed(Folder.of(OUT))  # readers do not count it
    summary = run("s3://bucket/photos", OUT, config)
    assert summary.images == N_IMAGES + 1
    assert f"{twice}.parquet" not in Folder.of(f"{OUT}/checkpoint").names()
    assert np.unpackbits(done_rows(Folder.of(OUT), N_IMAGES + 1)).sum() == N_IMAGES + 1
    check_same(tmp_path / "here", OUT)


@pytest.mark.slow
def test_two_drivers(photos, store, settings):
    config = RunConfig(engine="local", **settings)
    with Lease(Folder.of(OUT)), pytest.raises(SessError, match="is being written by a run on"):
        run("s3://bucket/photos", OUT, config)
    assert Folder.of(OUT).names() == []
    assert run("s3://bucket/photos", OUT, config).images == N_IMAGES + 1
    assert "driver.json" not in Folder.of(OUT).names()


def test_a_lease_that_is_renewed_while_it_is_read(store, monkeypatch):
    """A store is asked for the length of a file, then for the bytes: of another one by then."""
    out = Folder.of(OUT)
    lease = {"token": "a", "host": "b", "machine": "c", "pid": 1, "began": "2", "beat": 9}
    out.write("driver.json", json.dumps(lease).encode())
    asked, fault = [], store.fault

    def renewed_between(method, path, query):
        if method == "GET" and not asked:
            asked.append(path)
            out.write("driver.json", json.dumps(lease | {"beat": 10}).encode())
        return fault(method, path, query)

    monkeypatch.setattr(store, "fault", renewed_between)
    assert holder(out) == lease | {"beat": 10}
    assert asked == ["/bucket/run/driver.json"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cut", "503"])
def test_a_body_cut_short_is_never_taken_for_the_whole(store, kind):
    folder = Folder.of("s3://bucket/data")
    table = pa.table({"row": range(5000), "text": [f"{i}" * 9 for i in range(5000)]})
    with folder.writing("t.parquet") as file:
        pq.write_table(table, file)
    content = np.random.default_rng(0).bytes(300_000)
    folder.write("a.bin", content)
    folder.write("list.csv", b"image,label\n" + b"a.jpg,1\n" * 3000)
    for name in ("a.bin", "t.parquet", "list.csv"):
        store.fail_next("GET", name, *[kind] * 4)  # one more than the client itself tries
    assert read_bytes("s3://bucket/data/a.bin") == content
    with open_file("s3://bucket/data/t.parquet") as file:
        assert pq.read_table(file).equals(table)
    rows = pa.concat_tables(open_source("s3://bucket/data/list.csv"))
    assert rows.num_rows == 3000
    assert set(rows["uri"].to_pylist()) == {"s3://bucket/data/a.jpg"}
    assert store.injected == {kind: 12}


def test_an_answer_that_is_lost(store):
    """A move was done but not said to be: done again, it finds its work done."""
    folder = Folder.of("s3://bucket/data")
    folder.write("a", b"1")
    store.fail_next("PUT", "/bucket/data/", None, *["500"] * 3)  # behind copy and delete
    folder.rename("a", "b")
    assert store.injected == {"500": 3}
    assert (folder.names(), folder.read("b")) == (["b"], b"1")


def test_requests_for_many_files(store):
    folder = Folder.of("s3://bucket/many")
    for i in range(40):
        folder.write(f"{'ab'[i % 2]}/{i}.jpg", b"x")
    store.reset()
    assert len((folder / "a").names()) == 20
    assert len(store.requests) == 1
    store.reset()
    rows = pa.concat_tables(open_source("folder:s3://bucket/many"))
    assert rows["image_id"].to_pylist() == sorted(f"{'ab'[i % 2]}/{i}.jpg" for i in range(40))
    assert rows["uri"][0].as_py() == "s3://bucket/many/a/0.jpg"
    assert len(store.requests) <= 5  # whether it exists; one for each folder
    store.reset()
    folder.delete()
    assert len(store.requests) <= 7  # many files a request


@pytest.mark.slow
def test_ray_on_a_store_that_falters(photos, store, settings, tmp_path):
    ray = pytest.importorskip("ray")
    run(str(photos), tmp_path / "here", RunConfig(engine="local", **settings))
    config = RunConfig(engine="ray", workers=1, **settings)
    store.fail_next("GET", "/photos/01.jpg", "cut", "cut")
    store.fail_next("PUT", "/checkpoint/", *["500"] * 4)
    store.fail_next("PUT", "/run/maps/", "late", "503")
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init(address="local", num_cpus=2, **quiet)
    try:
        with store.falter(seed=5, rate=0.05) as injected:
            summary = run("s3://bucket/photos", OUT, config)
    finally:
        ray.shutdown()
    assert all(injected[kind] > 0 for kind in KINDS), injected
    assert (summary.images, summary.failed) == (N_IMAGES + 1, 1)
    names = [row["image_id"] for row in read_rows(OUT)]
    assert len(names) == len(set(names)) == N_IMAGES + 1
    check_same(tmp_path / "here", OUT)

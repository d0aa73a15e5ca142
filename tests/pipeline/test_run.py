import json
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipeline import RunConfig, Summary, read_maps, run
from pipeline.engines import BatchDone
from pipeline.engines.local import run_local
from pipeline.read import read_rows
from pipeline.records import RESULT_SCHEMA
from pipeline.stages import SaliencyWorker
from sess_kernels import ConfigError, SESSConfig, SessError, load_backbone, sess

FAST = {"engine": "local", "scales": 2, "labels": "predicted", "device": "cpu"}


def test_a_run_writes_a_row_for_every_image(photo_folder, tmp_path):
    out = tmp_path / "out"
    told = []
    summary = run(str(photo_folder), out, RunConfig(**FAST), on_batch=told.append)
    rows = {row["image_id"]: row for row in read_rows(out)}
    assert len(rows) == summary.images == sum(done.images for done in told) == 6
    assert summary.failed == 2
    assert {k for k, row in rows.items() if row["status"] == "failed"} == {"cut.jpg", "not.jpg"}
    assert "truncated" in rows["cut.jpg"]["error"]
    assert "is no image of a known format" in rows["not.jpg"]["error"]
    assert summary.patches == sum(row["n_patches"] for row in rows.values())
    for file in (out / "maps").iterdir():
        assert pq.read_schema(file).equals(RESULT_SCHEMA)


def test_maps_are_those_of_the_kernel_at_the_photographs_size(photo_folder, tmp_path, chelsea):
    out = tmp_path / "out"
    config = RunConfig(**FAST | {"labels": "predicted", "map_dtype": "float32", "top_k": 2})
    run(f"folder:{photo_folder}", out, config)
    from pipeline.images import read_rgb

    image = read_rgb(str(photo_folder / "cat.jpg"))
    cats = [record for record in read_maps(out) if record.image_id == "cat.jpg"]
    assert len(cats) == 2
    torch.set_num_threads(config.threads)
    for record in cats:
        expected = sess(image, record.class_index, config=SESSConfig(scales=2)).numpy()
        assert record.map.shape == (300, 451)
        np.testing.assert_array_equal(record.map, expected)
        assert 0 < record.score <= 1


def test_rates_are_those_after_start_up():
    summary = Summary()
    assert summary.to_dict()["images_per_s"] == 0
    summary.add(BatchDone(4, 0, 40, "cpu", 4, started=10, finished=14))
    assert summary.to_dict()["images_per_s"] == 1
    summary.add(BatchDone(4, 0, 40, "cpu", 4, started=10, finished=14))
    assert summary.to_dict()["images_per_s"] == 2  # two workers at once
    summary.add(BatchDone(6, 1, 90, "cpu", 4, started=14, finished=17))
    found = summary.to_dict()
    assert (found["images"], found["failed"], found["patches"]) == (14, 1, 170)
    assert (found["images_per_s"], found["patches_per_s"]) == (14 / 7, 170 / 7)


def test_given_labels_by_name_and_index(photo_folder, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("image,label\ncat.jpg,Egyptian cat|281\nsmall.png,tabby\n")
    run(str(photo_folder), tmp_path / "out", RunConfig(**FAST | {"labels": str(labels)}))
    found = {(r.image_id, r.class_index, r.class_name) for r in read_maps(tmp_path / "out")}
    assert found == {
        ("cat.jpg", 285, "Egyptian cat"),
        ("cat.jpg", 281, "tabby"),
        ("sub/small.png", 281, "tabby"),
    }


@pytest.mark.parametrize("formats", ["npy", "parquet,npy"])
def test_npy_files(photo_folder, tmp_path, formats):
    out = tmp_path / "out"
    config = RunConfig(**FAST | {"format": formats, "map_dtype": "float16", "limit": 2})
    run(str(photo_folder), out, config)
    records = list(read_maps(out))
    targets = [target for row in read_rows(out) for target in row["targets"]]
    assert len(records) == len(targets) == 2
    for record, target in zip(records, targets, strict=True):
        path = out / "npy" / record.image_id / f"{record.class_index}.npy"
        assert path == out / target["map"]["path"]
        stored = np.load(path)
        assert stored.dtype == np.float16
        np.testing.assert_array_equal(stored, record.map)
        assert (target["map"]["bytes"] is None) == (formats == "npy")


def test_the_record_tells_how_to_make_the_run_again(photo_folder, tmp_path):
    out = tmp_path / "out"
    config = RunConfig(**FAST | {"limit": 1})
    run(str(photo_folder), out, config)
    record = json.loads((out / "run.json").read_text())
    assert RunConfig(**record["config"]) == config
    assert record["state"] == "complete"
    assert record["resolved"]["target_layer"] == "bn2"
    assert record["config"]["threads"] == 1
    assert (record["summary"]["device"], record["summary"]["batch_size"]) == ("cpu", 4)
    assert record["versions"]["torch"] == torch.__version__
    assert record["summary"]["images"] == record["dataset"]["n_images"] == 1
    assert len(record["dataset"]["fingerprint"]) == 64


def test_an_earlier_run_is_not_written_over_unasked(photo_folder, tmp_path):
    out, config = tmp_path / "out", RunConfig(**FAST | {"limit": 2})
    run(str(photo_folder), out, config)
    with pytest.raises(SessError, match=r"other settings: scales 3 \(was 2\)"):
        run(str(photo_folder), out, RunConfig(**FAST | {"limit": 2, "scales": 3}))
    one = RunConfig(**FAST | {"limit": 1})
    run(str(photo_folder), out, one, overwrite=True)
    assert len(list(read_rows(out))) == 1
    mine = tmp_path / "mine" / "maps"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("keep me")
    with pytest.raises(SessError, match="is not empty and holds no run"):
        run(str(photo_folder), tmp_path / "mine", one, overwrite=True)
    assert (mine / "thesis.txt").exists()


def test_a_lost_row_is_found(photo_folder, tmp_path, monkeypatch):
    def loses_the_last(job, watch):
        done = np.packbits([row == job.plan.n_images - 1 for row in range(8)])
        run_local(replace(job, done=done), watch)

    monkeypatch.setattr(sys.modules["pipeline.run"], "engine", lambda name: loses_the_last)
    with pytest.raises(SessError, match=r"has 5 of 6 planned rows"):
        run(str(photo_folder), tmp_path / "out", RunConfig(**FAST))


def test_local_workers_side_by_side_give_the_same_bits(photo_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.shards.MIN_SHARD_PATCHES", 8)
    for workers in (1, 3):
        run(str(photo_folder), tmp_path / str(workers), RunConfig(**FAST, workers=workers))
    one, three = (
        {row["image_id"]: row for row in read_rows(tmp_path / name)} for name in ("1", "3")
    )
    assert one == three


def test_bad_labels_leave_the_earlier_run_and_the_way_for_the_next(photo_folder, tmp_path):
    out, labels = tmp_path / "out", tmp_path / "labels.csv"
    labels.write_text("image,label\ncat.jpg,nonsense\n")
    bad = RunConfig(**FAST | {"labels": str(labels)})
    with pytest.raises(SessError, match="unknown class 'nonsense'"):
        run(str(photo_folder), out, bad)
    good = RunConfig(**FAST | {"limit": 1})
    run(str(photo_folder), out, good)
    with pytest.raises(SessError, match="unknown class 'nonsense'"):
        run(str(photo_folder), out, bad, overwrite=True)
    assert len(list(read_rows(out))) == 1


def test_a_row_that_breaks_the_kernel_does_not_take_its_neighbours(
    photo_folder, tmp_path, monkeypatch
):
    explain = SaliencyWorker.__init__

    def broken(self, backbone, config):
        explain(self, backbone, config)
        whole = self.sess

        def fail_on_small(images, *how):
            if any(image.shape[0] == 100 for image in images):
                raise RuntimeError("a fault of\none image")
            return whole(images, *how)

        for name in ("backbone", "config", "packing", "batch_size"):
            setattr(fail_on_small, name, getattr(whole, name))
        self.sess = fail_on_small

    monkeypatch.setattr(SaliencyWorker, "__init__", broken)
    run(str(photo_folder), tmp_path / "out", RunConfig(**FAST))
    rows = {row["image_id"]: row for row in read_rows(tmp_path / "out")}
    assert rows["sub/small.png"]["error"] == "a fault of one image"
    assert sum(row["status"] == "ok" for row in rows.values()) == 3


def test_configuration_faults_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        RunConfig(engine="spark", format="parquet,csv", map_dtype="int4", scales=-1, workers=0)
    assert len(caught.value.faults) == 5
    with pytest.raises(ConfigError, match="cpu_workers must be a number from 1, or MIN:MAX"):
        RunConfig(cpu_workers="8:2")
    with pytest.raises(ConfigError, match="address names a Ray cluster"):
        RunConfig(engine="local", address="auto")


def test_class_groups_are_the_classes_of_a_run(photo_folder, tmp_path, chelsea):
    groups = {"cat": [281, 282, 283, 284, 285], "dog": list(range(151, 269))}
    (tmp_path / "groups.json").write_text(json.dumps(groups))
    (tmp_path / "l.csv").write_text("image,label\ncat.jpg,CAT|dog\n")
    config = RunConfig(
        **FAST
        | {"labels": str(tmp_path / "l.csv"), "class_groups": str(tmp_path / "groups.json")}
        | {"map_dtype": "float32"}
    )
    run(str(photo_folder), tmp_path / "out", config)
    cat, dog = read_maps(tmp_path / "out")
    assert [(cat.class_index, cat.class_name), (dog.class_index, dog.class_name)] == [
        (0, "cat"),
        (1, "dog"),
    ]
    assert cat.score > 0.9 > 0.1 > dog.score
    from pipeline.images import read_rgb

    torch.set_num_threads(config.threads)
    backbone = load_backbone("lite0").group_classes(groups)
    image = read_rgb(str(photo_folder / "cat.jpg"))
    expected = sess(image, 0, backbone, config=SESSConfig(scales=2)).numpy()
    np.testing.assert_array_equal(cat.map, expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "must hold"),
        ('{"cat": 281}', "'cat' must list indices"),
        ('{"cat": []}', "must hold"),
        ('{"cat": [1000]}', "but got [1000]"),
        ("{", "cannot be read"),
        (None, "do not exist"),
    ],
)
def test_bad_class_groups_are_told(photo_folder, tmp_path, text, words):
    file = tmp_path / "groups.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SessError) as caught:
        run(str(photo_folder), tmp_path / "out", RunConfig(**FAST, class_groups=str(file)))
    assert words in str(caught.value)

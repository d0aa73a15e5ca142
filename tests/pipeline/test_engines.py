"""The two engines write the same maps, bit for bit."""

import json

import numpy as np
import pytest

from pipeline import RunConfig, read_maps, run
from pipeline.read import read_rows

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def _ray_here():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def runs(photo_folder, tmp_path, _ray_here, monkeypatch):
    monkeypatch.setattr("pipeline.shards.MIN_SHARD_PATCHES", 8)
    settings = {"scales": 3, "labels": "predicted", "top_k": 2, "pre_filter_ratio": 0.3}
    settings |= {"workers": 2, "format": "parquet,npy", "map_dtype": "float32"}
    groups = {"cat": [281, 282, 283, 284, 285], "dog": list(range(151, 269)), "cup": [967, 968]}
    (tmp_path / "groups.json").write_text(json.dumps(groups))
    monkeypatch.chdir(tmp_path)  # the file is read here, not where a worker happens to be
    settings |= {"method": "rise", "method_options": {"n-masks": "6"}, "keep_patches": True}
    settings |= {"class_groups": "groups.json"}
    kinds = {"local": {"engine": "local"}, "ray": {}, "split": {"topology": "split"}}
    summaries = {
        name: run(str(photo_folder), tmp_path / name, RunConfig(**settings | kind))
        for name, kind in kinds.items()
    }
    return tmp_path, summaries


def test_same_rows_same_bits(runs):
    folder, summaries = runs
    assert json.loads((folder / "ray" / "run.json").read_text())["dataset"]["n_shards"] > 2
    local, *others = (
        {row["image_id"]: row for row in read_rows(folder / name)} for name in summaries
    )
    assert [len(list(read_rows(folder / name))) for name in summaries] == [6, 6, 6]
    assert others == [local, local]
    for name in ("images", "failed", "patches"):
        assert len({getattr(summary, name) for summary in summaries.values()}) == 1
    split = json.loads((folder / "split" / "run.json").read_text())["placement"]
    assert (split["topology"], set(split["workers"])) == ("split", {"pre-filter", "saliency"})
    records = list(read_maps(folder / "ray"))
    assert len(records) == 8
    for record in records:
        assert record.class_name in ("cat", "dog", "cup")
        assert len(record.patches) > 1
        assert record.patches[0].map.shape == (224, 224)
        path = folder / "ray" / "npy" / record.image_id / f"{record.class_index}.npy"
        np.testing.assert_array_equal(np.load(path), record.map)
    assert ray.is_initialized()  # a Ray that was there before the run is left alone


@pytest.mark.usefixtures("_ray_here")
def test_a_search_gives_the_same_bits_and_tells_what_it_saved(photo_folder, tmp_path):
    settings = {"scales": 4, "labels": "predicted", "pre_filter_ratio": 0.9, "search": True}
    settings |= {"workers": 2, "map_dtype": "float32"}
    settings |= {"map_stride": 3, "format": "parquet,npy", "npy_layout": "irn"}
    kinds = {"local": {"engine": "local"}, "split": {"topology": "split"}}
    rows, summaries = [], []
    for name, kind in kinds.items():
        summaries.append(run(str(photo_folder), tmp_path / name, RunConfig(**settings | kind)))
        rows.append({row["image_id"]: row for row in read_rows(tmp_path / name)})
    assert rows[0] == rows[1]
    local, split = (sorted((tmp_path / name / "npy").rglob("*.npy")) for name in kinds)
    assert [one.name for one in local] == ["blocks.npy", "cat.npy", "coffee.npy", "small.npy"]
    assert [one.read_bytes() for one in local] == [one.read_bytes() for one in split]
    assert all(0 < summary.saved < 0.9 for summary in summaries)
    assert summaries[0].saved > summaries[1].saved  # `split` repeats the forwards of kept patches
    assert json.loads((tmp_path / "local" / "run.json").read_text())["config"]["search"] is True

"""A run of five drawn images, and a cache of its own."""

import numpy as np
import pytest
import torch

from pipeline import RunConfig, read_maps, run

SIZES = ((60, 90), (90, 60), (48, 48), (70, 80), (33, 95))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sess" / "maps-of-runs"


@pytest.fixture
def photos(drawn_folder):
    return drawn_folder(SIZES)


@pytest.fixture
def make(photos, tmp_path, tiny_backbone, monkeypatch):
    monkeypatch.setattr("pipeline.shards.MIN_SHARD_PATCHES", 4)

    def made(name="out", **settings):
        settings = {"scales": 2, "labels": "predicted", "top_k": 2, "workers": 1} | settings
        config = RunConfig(backbone=tiny_backbone, engine="local", **settings)
        run(str(photos), tmp_path / name, config)
        return tmp_path / name

    return made


@pytest.fixture
def samples_agree():
    """Holds samples against the records of ``read_maps``."""

    def check(samples, out):
        known = {(one.image_id, one.class_index): one for one in read_maps(out)}
        found = {(one["image_id"], int(one["class_index"])): one for one in samples}
        assert len(found) == len(samples)
        assert sorted(found) == sorted(known)
        for key, sample in found.items():
            record = known[key]
            assert (sample["class_name"], sample["score"]) == (record.class_name, record.score)
            assert sample["map"].dtype == torch.float32
            np.testing.assert_array_equal(sample["map"].numpy(), record.map)

    return check

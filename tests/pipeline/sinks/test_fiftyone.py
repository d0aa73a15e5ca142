import sys
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from pipeline.export import export
from pipeline.exports.config import ExportConfig
from sess_kernels import SessError


class Label(SimpleNamespace):
    pass


class Sample(dict):
    def __init__(self, filepath, **fields):
        super().__init__(filepath=filepath, **fields)


class Dataset:
    """What ``fiftyone.Dataset`` is asked for."""

    kept: ClassVar = {}

    def __init__(self, name, persistent=False, overwrite=False):
        if name in self.kept and not overwrite:
            raise ValueError("exists")
        self.kept[name], self.persistent, self.samples, self.saved = self, persistent, [], False

    def save(self):
        self.saved = True

    def add_samples(self, samples, progress=None):
        self.samples += samples


@pytest.fixture
def datasets(monkeypatch):
    monkeypatch.setattr(Dataset, "kept", {})
    names = ("Heatmap", "Detection", "Detections", "Classification", "Classifications")
    kinds = {name: type(name, (Label,), {}) for name in (*names, "Segmentation")}
    exists = {"dataset_exists": lambda name: name in Dataset.kept}
    stand_in = SimpleNamespace(Dataset=Dataset, Sample=Sample, **kinds, **exists)
    monkeypatch.setitem(sys.modules, "fiftyone", stand_in)
    return Dataset.kept


@pytest.fixture
def to_fiftyone(out):
    def call(**settings):
        overwrite = settings.pop("overwrite", False)
        config = ExportConfig(thresholds=(0.5,), min_area=0.0, **settings)
        return export(out, "fiftyone", "birds", config, overwrite=overwrite)

    return call


def test_heatmaps_and_detections(datasets, to_fiftyone, tmp_path):
    summary = to_fiftyone(masks=True, background=0.5, box_score="class")
    dataset = datasets["birds"]
    assert (dataset.persistent, dataset.saved) == (True, True)
    assert dataset.default_classes == ["bird", "cat", "dog"]
    assert dataset.default_mask_targets == {1: "bird", 2: "cat", 3: "dog"}
    assert [one["filepath"] for one in dataset.samples] == [
        f"{tmp_path}/photos/{name}" for name in ("a/1.jpg", "2.jpg", "none.jpg")
    ]
    sample = dataset.samples[0]
    expected = np.zeros((60, 80), np.uint8)
    expected[20:50, 10:40] = 255
    assert (sample["map_cat"].map == expected).all()
    assert sample["map_cat"].range == [0, 255]
    [box] = sample["boxes"].detections
    assert box.bounding_box == [10 / 80, 20 / 60, 30 / 80, 30 / 60]
    assert (box.label, box.confidence) == ("cat", pytest.approx(0.9))
    [label] = sample["classes"].classifications
    assert (label.label, label.confidence) == ("cat", pytest.approx(0.9))
    assert (sample["mask"].mask == (expected > 0) * 2).all()
    assert dataset.samples[2]["boxes"].detections == []
    assert {name for name in dataset.samples[1] if name.startswith("map_")} == {
        "map_bird",
        "map_dog",
    }
    assert (summary.images, summary.boxes, summary.skipped, summary.dest) == (3, 4, 1, "birds")


def test_a_dataset_of_that_name_is_kept(datasets, to_fiftyone):
    to_fiftyone()
    with pytest.raises(SessError, match="FiftyOne has a dataset birds; give another --dest, or"):
        to_fiftyone()
    assert len(datasets["birds"].samples) == 3
    to_fiftyone(overwrite=True, limit=1)
    assert len(datasets["birds"].samples) == 1


def test_without_the_package(monkeypatch, to_fiftyone):
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(SessError, match=r'pip install "sess-pipeline\[fiftyone\]"'):
        to_fiftyone()


def test_the_real_one(to_fiftyone):
    fiftyone = pytest.importorskip("fiftyone")
    to_fiftyone(overwrite=True)
    dataset = fiftyone.load_dataset("birds")
    try:
        sample = dataset.first()
        assert sample.map_cat.map.max() == 255
        assert sample.boxes.detections[0].bounding_box == [0.125, 20 / 60, 0.375, 0.5]
    finally:
        fiftyone.delete_dataset("birds")

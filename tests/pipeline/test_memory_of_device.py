"""A device that lacks memory for the device batch: half of it, and said so."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.run import show_summary
from pipeline import RunConfig, read_maps, run
from pipeline.stages import SaliencyWorker
from sess_kernels import SESS, Backbone

SETTINGS = {"engine": "local", "scales": 1, "labels": "predicted", "device": "cpu", "workers": 1}
SETTINGS |= {"map_dtype": "float32"}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    module = sys.modules[SaliencyWorker.__mro__[1].__module__]
    monkeypatch.setattr(module, "_PAUSES", (0.0, 0.0))


@pytest.fixture
def small_device(monkeypatch):
    """Room for two patches; from the first photograph on, or for the warm-up already."""
    forward = Backbone.forward

    def make(warm_up_fits):
        def bounded(backbone, patches):
            is_warm_up = not patches.any()
            if len(patches) > 2 and not (warm_up_fits and is_warm_up):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return forward(backbone, patches)

        monkeypatch.setattr(Backbone, "forward", bounded)

    return make


@pytest.mark.parametrize("warm_up_fits", [True, False])
def test_half_the_device_batch_serves(photo_folder, tmp_path, small_device, warm_up_fits, capsys):
    expected = run(str(photo_folder), tmp_path / "two", RunConfig(**SETTINGS, batch_size=2))
    assert expected.smallest_batch == expected.batch_size == 2
    small_device(warm_up_fits)
    summary = run(str(photo_folder), tmp_path / "out", RunConfig(**SETTINGS))
    assert (summary.images, summary.failed) == (expected.images, expected.failed)
    assert summary.smallest_batch == 2
    maps = {one.image_id: one.map for one in read_maps(tmp_path / "out")}
    assert len(maps) == summary.images - summary.failed
    for one in read_maps(tmp_path / "two"):
        np.testing.assert_array_equal(maps[one.image_id], one.map)
    summary.batch_size = 4  # as another worker with room for it would have told
    show_summary(summary, str(tmp_path / "out"))
    assert "give --batch-size 2" in " ".join(capsys.readouterr().out.split())


def test_an_image_that_never_fits_fails_alone_and_the_batch_stays(
    photo_folder, tmp_path, monkeypatch
):
    expected = run(str(photo_folder), tmp_path / "whole", RunConfig(**SETTINGS))
    explain = SESS.__call__

    def bounded(kernel, images, *given):
        if any(image.std() == 0 for image in images):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return explain(kernel, images, *given)

    Image.new("RGB", (224, 224), (90, 90, 90)).save(photo_folder / "even.png")
    monkeypatch.setattr(SESS, "__call__", bounded)
    summary = run(str(photo_folder), tmp_path / "out", RunConfig(**SETTINGS))
    assert summary.failed == expected.failed + 1
    assert summary.smallest_batch == summary.batch_size == 4
    whole = {one.image_id: one.map for one in read_maps(tmp_path / "whole")}
    found = {one.image_id: one.map for one in read_maps(tmp_path / "out")}
    assert found.keys() == whole.keys()
    for name, map_ in found.items():
        np.testing.assert_array_equal(map_, whole[name])

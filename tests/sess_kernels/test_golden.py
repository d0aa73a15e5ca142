"""Parity with the published program, on real photographs and real weights."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from sess_kernels import SESS, SESSConfig

_DESCRIBED = json.loads((Path(__file__).parents[1] / "golden/reference_maps.json").read_text())
_COUNTS = {"gradcam": 24, "groupcam": 2}
_KEYS = [key for key, about in _DESCRIBED.items() if about["method"] in _COUNTS]


@pytest.mark.slow
@pytest.mark.parametrize("key", _KEYS)
def test_parity(key, golden, lite0, device, agree):
    about, expected = golden[key]
    config = SESSConfig.published(
        scales=about["scales"], pre_filter_ratio=about["pre_filter_ratio"], smooth=about["smooth"]
    )
    image = getattr(data, about["image"])()
    try:
        explain = SESS(lite0.to(device), about["method"], config)
        [[found]] = explain([image], [[about["class_index"]]])
    finally:
        lite0.to("cpu")
    map_ = found.map.cpu().numpy()
    assert list(map_.shape) == about["shape"]
    difference = np.abs(map_[::3, ::3] - expected)
    # the references were computed on a CPU, and fp32 sums in another order on a GPU
    tolerance = {"cpu": 1e-5, "cuda": 5e-5}[device]
    assert (difference > tolerance).mean() <= 1e-4
    agree(map_[::3, ::3], expected, 5e-3)  # where the count of patches above theta flips
    assert list(np.unravel_index(map_.argmax(), map_.shape)) == about["argmax_yx"]


def test_every_key_is_there():
    assert Counter(about["method"] for about in _DESCRIBED.values()) == _COUNTS

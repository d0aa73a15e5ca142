import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sess_kernels import SESSConfig
from sess_kernels.fuse import fuse, min_max, rescale
from sess_kernels.interpolation import resize_matrix
from sess_kernels.windows import grids, windows_of


def _literal(maps, weights, windows, size, window, theta):
    """The paper's formula as it stands: a canvas for every patch, averaged where > theta."""
    layers = []
    for map_, weight, place in zip(maps, weights, windows, strict=True):
        big = F.interpolate(map_[None, None].double(), (window, window), mode="bilinear")[0, 0]
        big = big.numpy()
        span = big.max() - big.min()
        norm = (big - big.min()) / span if span > 1e-6 * big.max() else np.zeros_like(big)
        canvas = np.zeros((place.grid.height, place.grid.width), np.float32)
        canvas[place.top : place.top + window, place.left : place.left + window] = norm
        layers.append(cv2.resize(canvas, size[::-1], interpolation=cv2.INTER_LINEAR) * weight)
    stack = np.stack(layers)
    above = stack > theta
    return (stack * above).sum(0) / above.sum(0).clip(1)


@given(
    height=st.integers(1, 80),
    width=st.integers(1, 80),
    map_size=st.sampled_from([1, 2, 3, 7, 8]),
    window=st.sampled_from([14, 16, 21]),
    scales=st.integers(1, 3),
    theta=st.sampled_from([0.05, 0.2]),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_fused_is_the_literal_formula(height, width, map_size, window, scales, theta, seed):
    config = SESSConfig(scales=scales, window_size=window, theta=theta, step_size=window // 2)
    windows = windows_of(grids(height, width, config))[:40]
    random = torch.Generator().manual_seed(seed)
    maps = torch.rand(len(windows), map_size, map_size, generator=random).sub(0.3).relu()
    weights = torch.rand(len(windows), generator=random)
    found = fuse(min_max(maps, window), weights, windows, (height, width), config).numpy()
    expected = _literal(maps, weights.numpy(), windows, (height, width), window, theta)
    wrong = np.abs(found - expected) > 1e-5  # a value at theta itself may fall on either side
    assert wrong.mean() <= 0.01


def test_at_theta_zero_what_is_exactly_zero_is_not_counted():
    config = SESSConfig(scales=2, window_size=16)
    windows = windows_of(grids(40, 52, config))
    maps = torch.zeros(len(windows), 4, 4)
    maps[:, 1:3, 1:3] = torch.rand(len(windows), 2, 2, generator=torch.Generator().manual_seed(1))
    found = fuse(min_max(maps, 16), torch.ones(len(windows)), windows, (40, 52), config).numpy()
    expected = _literal(maps, np.ones(len(windows)), windows, (40, 52), 16, 0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(9, 60), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_min_max_as_if_enlarged(height, width, window, seed):
    maps = torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed)) * 5 - 2
    big = F.interpolate(maps[None].double(), (window, window), mode="bilinear")[0]
    low, high = big.amin((1, 2), True), big.amax((1, 2), True)
    expected = torch.where(high - low > 1e-9, (big - low) / (high - low), 0.0).float()
    found = F.interpolate(min_max(maps, window)[None], (window, window), mode="bilinear")[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_constant_maps_are_zero_and_take_nothing_from_their_neighbours():
    config = SESSConfig(scales=1, window_size=8)
    [window] = windows_of(grids(8, 8, config))
    live = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
    dead = torch.cat([torch.full((1, 4, 4), 3.0), torch.zeros(1, 4, 4), live])
    alone = fuse(min_max(live, 8), torch.tensor([0.9]), [window], (8, 8), config)
    among = fuse(min_max(dead, 8), torch.tensor([0.9, 0.9, 0.9]), [window] * 3, (8, 8), config)
    assert torch.equal(alone, among)
    assert not min_max(dead, 8)[:2].any()


@pytest.mark.parametrize(("n_in", "n_out"), [(1, 5), (7, 224), (5, 2), (300, 224), (3, 3)])
def test_resize_matrix_is_bilinear_interpolation(n_in, n_out):
    line = torch.rand(n_in, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = F.interpolate(line[None, None], n_out, mode="linear", align_corners=False)[0, 0]
    torch.testing.assert_close(resize_matrix(n_in, n_out) @ line, expected)


def test_rescale_spans_zero_to_one_exactly():
    map_ = rescale(torch.rand(9, 9, generator=torch.Generator().manual_seed(0)) * 7 - 3)
    assert map_.min() == 0
    assert map_.max() == 1
    assert not rescale(torch.full((3, 3), 2.0)).any()

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import Resize

from sess_kernels import SESSConfig
from sess_kernels.windows import count, grids, positions, scaled_size


@pytest.mark.parametrize(("scales", "patches"), [(1, 1), (5, 22), (10, 81), (12, 122)])
def test_patches_of_a_square_image(scales, patches):
    assert count(300, 300, SESSConfig(scales=scales)) == patches


@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_scaled_size_is_torchvisions(height, width, shorter):
    expected = Resize(shorter).forward(torch.zeros(1, height, width)).shape[1:]
    assert scaled_size(height, width, shorter) == tuple(expected)


@given(st.integers(1, 900), st.integers(1, 300), st.data())
def test_windows_cover_every_pixel_and_stay_inside(length, window, data):
    window = min(window, length)
    step = data.draw(st.integers(1, window))
    covered = np.zeros(length, int)
    found = positions(length, window, step)
    for first in found:
        assert 0 <= first <= length - window
        covered[first : first + window] += 1
    assert covered.all()
    assert list(found) == sorted(set(found))
    assert found[0] == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 5000), (5000, 50), (224, 224), (223, 225)])
def test_every_size_has_windows_on_every_scale(size):
    found = grids(*size, SESSConfig(scales=3))
    assert len(found) == 3
    for number, grid in enumerate(found):
        assert min(grid.height, grid.width) == 224 + 64 * number
        assert grid.tops[-1] + 224 == grid.height
        assert grid.lefts[-1] + 224 == grid.width


def test_the_window_follows_the_input_size():
    [grid] = grids(400, 500, SESSConfig(scales=1), input_size=299)
    assert grid.height == 299
    assert count(400, 400, SESSConfig(scales=1, window_size=112, step_size=56), 224) == 1


def test_no_image_is_an_error():
    with pytest.raises(ValueError, match="at least 1x1"):
        grids(0, 10, SESSConfig())

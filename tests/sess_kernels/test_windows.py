import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import Resize

from sess_kernels import SESSConfig
from sess_kernels.windows import count, counts, grids, positions, scaled_size


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


@st.composite
def _configs(draw):
    window = draw(st.none() | st.integers(1, 300))
    input_size = draw(st.integers(1, 300))
    side = window or input_size
    return input_size, SESSConfig(
        scales=draw(st.integers(1, 12)),
        window_size=window,
        step_size=draw(st.none() | st.integers(max(1, side // 4), side)),
        base_size=draw(st.none() | st.integers(side, side + 100)),
        scale_increment=draw(st.integers(1, 100)),
    )


_SIDES = st.integers(1, 8) | st.integers(1, 700) | st.integers(1, 100_000)


@given(st.lists(st.tuples(_SIDES, _SIDES), max_size=12), _configs())
@settings(max_examples=80, deadline=None)
def test_counts_of_many_sizes_are_those_of_one(sizes, configured):
    input_size, config = configured
    # what `count` writes down of a strip one pixel wide would fill the memory
    sizes = [size for size in sizes if max(size) <= 500 * min(size)]
    found = counts([h for h, _ in sizes], [w for _, w in sizes], config, input_size)
    assert found.dtype == np.int64
    assert found.tolist() == [count(*size, config, input_size) for size in sizes]


def test_counts_of_more_sizes_than_a_block():
    random = np.random.default_rng(0)
    heights, widths = random.integers(1, 400, (2, 40_000))
    config = SESSConfig(scales=5)
    found = counts(heights, widths, config)
    some = [0, 1, 16_383, 16_384, 16_385, 32_768, 39_999]
    assert found[some].tolist() == [count(int(heights[i]), int(widths[i]), config) for i in some]
    assert np.array_equal(found, counts(widths, heights, config))
    assert np.array_equal(counts(heights[::-1], widths[::-1], config), found[::-1])


def test_counts_of_what_is_no_size():
    assert counts([], [], SESSConfig()).tolist() == []
    with pytest.raises(ValueError, match="at least 1x1 pixels but got 0x7"):
        counts([5, 0], [5, 7], SESSConfig())
    with pytest.raises(ValueError, match="at least 1x1 pixels but got 7x-1"):
        counts([7], [-1], SESSConfig())
    with pytest.raises(ValueError, match="a width for each height"):
        counts([5, 6], [5], SESSConfig())

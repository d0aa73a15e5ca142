"""Scales and sliding windows of an image size: integers only, no pixels.

Paper section 3, "Multi-scaling" and "Sliding window": the smaller side of the image is resized to
224 + 64 (i - 1) for scale i with the aspect ratio kept, and a window slides over each scaled image
from the top-left; windows at the far borders are pulled back inside so that every pixel is covered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sess_kernels.config import SESSConfig

_BLOCK = 2**14  # sizes at a time: what they need stays in the cache


@dataclass(frozen=True)
class Grid:
    """The windows of one scale: every pair of a ``tops`` and a ``lefts`` entry, row by row.

    Attributes:
        height: Height of the scaled image in pixels.
        width: Width of the scaled image in pixels.
        tops: First row of each row of windows.
        lefts: First column of each column of windows.
    """

    height: int
    width: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)


class Window(NamedTuple):
    """One window: its scale's grid and its place there in pixels of the scaled image."""

    grid: Grid
    top: int
    left: int


def windows_of(grids: Sequence[Grid]) -> list[Window]:
    """Every window of the grids, in the order of the patches.

    Example:
        >>> windows_of([Grid(224, 300, (0,), (0, 76))])[1].left
        76
    """
    return [Window(grid, top, left) for grid in grids for top in grid.tops for left in grid.lefts]


def scaled_size(height: int, width: int, shorter: int) -> tuple[int, int]:
    """Height and width after the smaller side is resized to ``shorter`` pixels, aspect kept.

    Example:
        >>> scaled_size(300, 451, 224)
        (224, 336)
    """
    if height <= width:
        return shorter, max(shorter, int(shorter * width / height))
    return max(shorter, int(shorter * height / width)), shorter


def positions(length: int, window: int, step: int) -> tuple[int, ...]:
    """First pixels of the windows along one side; the last window ends at the last pixel.

    Example:
        >>> positions(500, 224, 224)
        (0, 224, 276)
    """
    last = length - window
    return (*range(0, last, step), last)


def grids(height: int, width: int, config: SESSConfig, input_size: int = 224) -> tuple[Grid, ...]:
    """The windows of every scale of an image of ``height`` x ``width`` pixels.

    Raises:
        ValueError: If a side is under one pixel.

    Example:
        >>> [len(grid) for grid in grids(224, 224, SESSConfig(scales=5))]
        [1, 4, 4, 4, 9]
        >>> grids(300, 451, SESSConfig(scales=0))  # no scaling and sliding: squeezed
        (Grid(height=224, width=224, tops=(0,), lefts=(0,)),)
    """
    if height < 1 or width < 1:
        raise ValueError(f"Expected an image of at least 1x1 pixels but got {height}x{width}")
    sides, window, step = _scales(config, input_size)
    if not sides:
        return (Grid(window, window, (0,), (0,)),)
    return _grids(height, width, sides, window, step)


def _scales(config: SESSConfig, input_size: int) -> tuple[range, int, int]:
    """Shorter side of the image at each scale, side of the window and step, in pixels."""
    full = config.for_input(input_size)
    assert full.window_size is not None
    assert full.step_size is not None
    assert full.base_size is not None
    stop = full.base_size + full.scale_increment * full.scales
    return range(full.base_size, stop, full.scale_increment), full.window_size, full.step_size


@lru_cache(maxsize=4096)
def _grids(height: int, width: int, sides: range, window: int, step: int) -> tuple[Grid, ...]:
    found = []
    for side in sides:
        h, w = scaled_size(height, width, side)
        found.append(Grid(h, w, positions(h, window, step), positions(w, window, step)))
    return tuple(found)


def count(height: int, width: int, config: SESSConfig, input_size: int = 224) -> int:
    """Patches of an image of ``height`` x ``width`` pixels over all scales.

    A square image has 81 at 10 scales and 122 at 12; the closed form printed in the paper (69 and
    101) does not follow from the paper's own procedure.

    Example:
        >>> count(500, 500, SESSConfig(scales=10)), count(500, 500, SESSConfig(scales=12))
        (81, 122)
    """
    return sum(len(grid) for grid in grids(height, width, config, input_size))


def counts(
    heights: npt.ArrayLike, widths: npt.ArrayLike, config: SESSConfig, input_size: int = 224
) -> npt.NDArray[np.int64]:
    """``count`` of many sizes at once.

    Args:
        heights: Heights in pixels, whole numbers (N,).
        widths: Widths in pixels (N,).
        config: Settings of SESS.
        input_size: Input size of the backbone in pixels.

    Returns:
        Patches over all scales ``int64 (N,)``.

    Raises:
        ValueError: If a side is under one pixel, or there is not one width for each height.

    Example:
        >>> counts([500, 300], [500, 451], SESSConfig(scales=10)).tolist()
        [81, 116]
    """
    rows, columns = np.asarray(heights, np.int64), np.asarray(widths, np.int64)
    if rows.ndim != 1 or rows.shape != columns.shape:
        raise ValueError(f"Expected a width for each height but got {columns.shape}, {rows.shape}")
    shorter, longer = np.minimum(rows, columns), np.maximum(rows, columns)
    if (shorter < 1).any():
        wrong = (shorter < 1).argmax()
        size = f"{rows[wrong]}x{columns[wrong]}"
        raise ValueError(f"Expected an image of at least 1x1 pixels but got {size}")
    found = np.zeros(len(rows), np.int64)
    sides, window, step = _scales(config, input_size)
    if not sides:
        return found + 1
    for start in range(0, len(found), _BLOCK):
        block = slice(start, start + _BLOCK)
        for side in sides:  # the longer side as `scaled_size` has it, to the last bit
            scaled = (side * longer[block] / shorter[block]).astype(np.int64)
            found[block] += len(positions(side, window, step)) * _n_positions(scaled, window, step)
    return found


def _n_positions(lengths: npt.NDArray[np.int64], window: int, step: int) -> npt.NDArray[np.int64]:
    """The number of ``positions`` along sides of these lengths."""
    return 1 - (window - lengths) // step

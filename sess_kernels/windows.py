"""Scales and sliding windows of an image size: integers only, no pixels.

Paper section 3, "Multi-scaling" and "Sliding window": the smaller side of the image is resized to
224 + 64 (i - 1) for scale i with the aspect ratio kept, and a window slides over each scaled image
from the top-left; windows at the far borders are pulled back inside so that every pixel is covered.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from sess_kernels.config import SESSConfig


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
    """
    if height < 1 or width < 1:
        raise ValueError(f"Expected an image of at least 1x1 pixels but got {height}x{width}")
    full = config.for_input(input_size)
    assert full.window_size is not None
    assert full.step_size is not None
    assert full.base_size is not None
    sides = range(
        full.base_size, full.base_size + full.scale_increment * full.scales, full.scale_increment
    )
    return _grids(height, width, sides, full.window_size, full.step_size)


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

r"""Calibration and fusion of many maps in one launch, equations (1) and (2) of the paper.

Every program makes one tile of the map of one image and class. It goes through the patches of that
map in their order and leaves out those that miss the tile; no two programs write to one place, so
the bits are the same every time and whatever else is in the launch. A pixel of a patch is

.. math:: w \sum_i a_i \sum_j b_j m_{y_i x_j}

with the at most four samples of its map along each axis, and their weights, of
``calibration.samples``.

Sizes are read from tables and none is a parameter: one binary serves them all.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator]
def _axis(
    place: tl.tensor, pixels: tl.tensor, indices: tl.tensor, weights: tl.tensor, tap: tl.tensor
) -> tl.tensor:
    """One of the four samples that pixels are made of along an axis, and its weights.

    Args:
        place: Address of the three fields of the axis in ``Tables.patches``.
        pixels: ``int32 (n,)`` pixels of the source image; outside of the patch the weight is 0.
        indices: ``Tables.indices``.
        weights: ``Tables.weights``.
        tap: Which of the four.
    """
    first = tl.load(place).to(tl.int32)
    stop = tl.load(place + 1).to(tl.int32)
    at = tl.load(place + 2) + tap * (stop - first) + (pixels - first)
    inside = (pixels >= first) & (pixels < stop)
    found = tl.load(indices + at, mask=inside, other=0)
    return found, tl.load(weights + at, mask=inside, other=0.0)


@triton.jit  # type: ignore[untyped-decorator]
def _calibrated(
    values: tl.tensor,
    map_width: tl.tensor,
    place: tl.tensor,
    y: tl.tensor,
    x: tl.tensor,
    indices: tl.tensor,
    weights: tl.tensor,
) -> tl.tensor:
    """The map of a patch at pixels of the source image, (HEIGHT, WIDTH).

    Args:
        values: Address of the map (h, w).
        map_width: Its width.
        place: Address of the patch in ``Tables.patches``.
        y: ``int32 (HEIGHT,)`` rows of the source image.
        x: ``int32 (WIDTH,)`` columns there.
        indices: ``Tables.indices``.
        weights: ``Tables.weights``.
    """
    value = tl.full((y.shape[0], x.shape[0]), 0.0, tl.float32)
    for i in tl.static_range(4):
        row, a = _axis(place, y, indices, weights, i)
        line = tl.full((y.shape[0], x.shape[0]), 0.0, tl.float32)
        for j in tl.static_range(4):
            column, b = _axis(place + 3, x, indices, weights, j)
            at = values + row[:, None] * map_width + column[None, :]
            weighty = (a != 0)[:, None] & (b != 0)[None, :]
            line = tl.fma(b[None, :], tl.load(at, mask=weighty, other=0.0), line)
        value = tl.fma(a[:, None], line, value)
    return value


@triton.jit  # type: ignore[untyped-decorator]
def _misses(place: tl.tensor, first: tl.tensor, stop: tl.tensor) -> tl.tensor:
    """Whether a patch touches no pixel from ``first`` to ``stop`` of an axis."""
    return (tl.load(place) >= stop) | (tl.load(place + 1) <= first)


@triton.jit(do_not_specialize=["is_max"])  # type: ignore[untyped-decorator]
def fuse_tiles(
    owners: tl.tensor,
    maps: tl.tensor,
    patches: tl.tensor,
    scores: tl.tensor,
    indices: tl.tensor,
    weights: tl.tensor,
    theta: tl.tensor,
    is_max: tl.tensor,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """Make a tile of ``HEIGHT`` x ``WIDTH`` pixels of a map; the arguments are of ``Tables``."""
    program = tl.program_id(0)
    job = maps + 9 * tl.load(owners + program)
    width = tl.load(job + 3).to(tl.int32)
    map_width = tl.load(job + 5).to(tl.int32)
    tile = program - tl.load(job + 8).to(tl.int32)
    across = (width + WIDTH - 1) // WIDTH
    top = tile // across * HEIGHT
    left = tile % across * WIDTH
    y = top + tl.arange(0, HEIGHT)
    x = left + tl.arange(0, WIDTH)
    values = tl.load(job).to(tl.pointer_type(tl.float32))
    total = tl.full((HEIGHT, WIDTH), 0.0, tl.float32)
    counted = tl.full((HEIGHT, WIDTH), 0.0, tl.float32)
    patch = tl.load(job + 6)
    while patch < tl.load(job + 7):
        place = patches + 6 * patch
        if not (_misses(place, top, top + HEIGHT) | _misses(place + 3, left, left + WIDTH)):
            value = _calibrated(values, map_width, place, y, x, indices, weights)
            value = value * tl.load(scores + patch)
            above = value > theta
            value = tl.where(above, value, 0.0)
            total = tl.where(is_max != 0, tl.maximum(total, value), total + value)
            counted += tl.where(above, 1.0, 0.0)
        values += tl.load(job + 4) * map_width
        patch += 1
    result = tl.load(job + 1).to(tl.pointer_type(tl.float32))
    inside = (y < tl.load(job + 2))[:, None] & (x < width)[None, :]
    mean = tl.div_rn(total, tl.maximum(counted, 1.0))
    at = result + y.to(tl.int64)[:, None] * width + x[None, :]
    tl.store(at, tl.where(is_max != 0, total, mean), mask=inside)

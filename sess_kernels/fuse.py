r"""Calibration and fusion: maps of patches into the map of an image, paper section 3.

Each map is min-max normalised at the size of its window, weighted by its score (equation 1), laid
on a zero canvas of its scaled image, resized to the source image, and the mean goes over the maps
whose weighted value exceeds theta there (equation 2).

Every step from the small map to the source image is separable and linear, so a patch is
``Ay . map . Ax^T`` inside its footprint, with cached matrices Ay and Ax: no map at the size of the
window and no canvas is made, and the memory is that of one numerator and one denominator.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sess_kernels.calibration import samples
from sess_kernels.config import SESSConfig
from sess_kernels.interpolation import resize_matrix
from sess_kernels.windows import Window

SMALL = 64
"""Largest side of a small map in pixels; CAMs are smaller."""

_ROUNDING = 1e-6  # of the values: differences below are those of float32 arithmetic


class PatchMaps(NamedTuple):
    """What becomes the map of one image and class: the first arguments of ``fuse``."""

    maps: Tensor
    weights: Tensor
    windows: Sequence[Window]
    size: tuple[int, int]


class _Footprint(NamedTuple):
    """Where a window touches one axis of the source image, and the matrix that maps it there."""

    start: int
    stop: int
    matrix: Tensor  # (stop - start, map size)


@lru_cache(maxsize=256)
def _turning_rows(map_size: int, window: int, device: torch.device) -> Tensor:
    """The rows of the enlargement from map to window among which every extreme value lies.

    Between two samples of the map the enlarged one is linear along each axis, so that its extremes
    are at the first and last row of each such interval.
    """
    matrix = resize_matrix(map_size, window)
    centre = (torch.arange(window, dtype=torch.float64) + 0.5) * (map_size / window) - 0.5
    interval = centre.clamp(0, map_size - 1).floor()
    changes = interval[1:] != interval[:-1]
    keep = torch.ones(window, dtype=torch.bool)
    keep[1:-1] = changes[:-1] | changes[1:]
    # a clamped border and an exact last sample can share an interval with the rows before them
    keep |= (centre <= 0) | (centre >= map_size - 1)
    return matrix[keep].float().to(device)


def min_max(maps: Tensor, window: int) -> Tensor:
    """Min-max normalise maps (N, h, w) as if enlarged to (N, window, window); constant ones give 0.

    The result is still (N, h, w): enlarged, its values span 0 to 1 exactly where the enlarged
    original spans its minimum to its maximum.

    Example:
        >>> min_max(torch.tensor([[[2.0, 4.0]], [[3.0, 3.0]]]), 224).tolist()
        [[[0.0, 1.0]], [[0.0, 0.0]]]
    """
    values = maps
    if maps.shape[1:] != (window, window):
        rows = _turning_rows(maps.shape[1], window, maps.device)
        columns = _turning_rows(maps.shape[2], window, maps.device)
        values = rows @ maps @ columns.T
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    span = high - low
    # the interpolation of a constant is not constant to the last bit
    flat = span <= _ROUNDING * torch.maximum(low.abs(), high.abs())
    return torch.where(flat, 0.0, (maps - low) / span)


def _footprint(
    source: int, scaled: int, first: int, window: int, map_size: int, device: torch.device
) -> _Footprint:
    """The samples of one axis as a matrix."""
    found = samples(source, scaled, first, window, map_size)
    rows = np.arange(found.stop - found.start)
    matrix = np.zeros((len(rows), map_size), np.float32)
    for indices, weights in zip(found.indices, found.weights, strict=True):
        matrix[rows, indices] += weights
    return _Footprint(found.start, found.stop, torch.from_numpy(matrix).to(device))


_footprint_of_small = lru_cache(maxsize=256)(_footprint)  # more than the windows of one image


def _footprints(
    window: Window, size: tuple[int, int], side: int, map_: Tensor
) -> tuple[_Footprint, _Footprint]:
    """Footprints of a window of ``side`` pixels along both axes of the source image."""
    # those of maps as large as the window would fill the memory
    make = _footprint_of_small if max(map_.shape) <= SMALL else _footprint
    return (
        make(size[0], window.grid.height, window.top, side, map_.shape[0], map_.device),
        make(size[1], window.grid.width, window.left, side, map_.shape[1], map_.device),
    )


def channel_weights(scores: Tensor, config: SESSConfig) -> Tensor:
    """What the maps of the kept patches are multiplied with (N,), equation (1).

    Example:
        >>> config = SESSConfig(channel_weights="relative")
        >>> channel_weights(torch.tensor([0.2, 0.4]), config).tolist()
        [0.5, 1.0]
    """
    if config.channel_weights == "none":
        return torch.ones_like(scores)
    if config.channel_weights == "relative":  # the best patch is always kept
        return scores / scores.max().clamp_min(torch.finfo(scores.dtype).tiny)
    return scores


def fuse(
    maps: Tensor,
    weights: Tensor,
    windows: Sequence[Window],
    size: tuple[int, int],
    config: SESSConfig,
) -> Tensor:
    """Weighted average, or maximum, of the maps of one image and class, equations (1) and (2).

    Args:
        maps: (N, h, w), min-max normalised by ``min_max``.
        weights: (N,) channel-wise weights: the scores of the class in the patches.
        windows: The N windows of the maps.
        size: Height and width of the source image in pixels.
        config: Gives window size (set), theta and kind of fusion.

    Returns:
        (H, W), zero where no map exceeds theta; not normalised.

    Example:
        >>> from sess_kernels.windows import Grid
        >>> config = SESSConfig(window_size=4)
        >>> left, right = (Window(Grid(4, 6, (0,), (0, 2)), 0, x) for x in (0, 2))
        >>> maps = torch.tensor([[[1.0]], [[1.0]]])
        >>> fuse(maps, torch.tensor([0.5, 1.0]), [left, right], (4, 6), config)[0].tolist()
        [0.5, 0.5, 0.75, 0.75, 1.0, 1.0]
    """
    assert config.window_size is not None
    height, width = size
    weighted = maps * weights.to(maps)[:, None, None]
    fused = weighted.new_zeros(height, width)
    counted = weighted.new_zeros(height, width) if config.fusion == "mean" else None
    for map_, window in zip(weighted, windows, strict=True):
        y, x = _footprints(window, size, config.window_size, map_)
        calibrated = y.matrix @ map_ @ x.matrix.T
        F.threshold(calibrated, config.theta, 0.0, inplace=True)
        inside = slice(y.start, y.stop), slice(x.start, x.stop)
        if counted is None:
            torch.maximum(fused[inside], calibrated, out=fused[inside])
        else:
            fused[inside] += calibrated
            counted[inside] += calibrated > config.theta
    return fused if counted is None else fused.div_(counted.clamp_min_(1))


def rescale(map_: Tensor) -> Tensor:
    """Min-max normalise one map (H, W); a constant one gives zeros.

    Example:
        >>> rescale(torch.tensor([[1.0, 3.0]])).tolist()
        [[0.0, 1.0]]
    """
    low, high = map_.aminmax()
    return torch.where(high > low, (map_ - low) / (high - low), torch.zeros_like(map_))

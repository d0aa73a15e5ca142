"""Bilinear interpolation along one axis: half-pixel centres, no anti-aliasing."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Indices = NDArray[np.int64]


def resize_matrix(n_in: int, n_out: int) -> Tensor:
    """Bilinear interpolation of ``n_in`` samples to ``n_out``, as a float64 matrix (n_out, n_in).

    Half-pixel centres, no anti-aliasing, as in ``interpolate(align_corners=False)``.

    Example:
        >>> resize_matrix(2, 4)[1].tolist()
        [0.75, 0.25]
    """
    low, high, part = taps(n_in, n_out)
    matrix = np.zeros((n_out, n_in))
    rows = np.arange(n_out)
    matrix[rows, low] += 1 - part
    matrix[rows, high] += part
    return torch.from_numpy(matrix)


def taps(n_in: int, n_out: int) -> tuple[Indices, Indices, NDArray[np.float64]]:
    """For each output sample the two input samples it lies between, and its share of the second.

    Example:
        >>> [found.tolist() for found in taps(2, 4)]
        [[0, 0, 0, 1], [1, 1, 1, 1], [0.0, 0.25, 0.75, 0.0]]
    """
    centre = ((np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5).clip(0, n_in - 1)
    low = np.floor(centre).astype(np.int64)
    return low, (low + 1).clip(max=n_in - 1), centre - low

"""Gaussian smoothing of the fused map, paper section 3 "Smoothing": 11x11 pixels, sigma 5."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

KERNEL_SIZE = 11
SIGMA = 5.0


def gaussian_kernel(size: int = KERNEL_SIZE, sigma: float = SIGMA) -> Tensor:
    """Weights (size,) of a Gaussian that sum to 1.

    Example:
        >>> round(gaussian_kernel().sum().item(), 6)
        1.0
    """
    offset = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weights = torch.exp(-(offset**2) / (2 * sigma**2))
    return (weights / weights.sum()).float()


def _mirrored(length: int, pad: int) -> Tensor:
    """Indices of a side padded by its mirror image without the edge, at any length down to 1."""
    if length == 1:
        return torch.zeros(2 * pad + 1, dtype=torch.long)
    period = 2 * (length - 1)
    index = torch.arange(-pad, length + pad).remainder(period)
    return torch.where(index < length, index, period - index)


def smooth(map_: Tensor) -> Tensor:
    """Smooth a map (H, W); borders are mirrored, so a constant map stays as it is.

    Example:
        >>> smooth(torch.ones(3, 20)).sub(1).abs().max().item() < 1e-6
        True
    """
    pad = KERNEL_SIZE // 2
    kernel = gaussian_kernel().to(map_)
    rows = _mirrored(map_.shape[0], pad).to(map_.device)
    columns = _mirrored(map_.shape[1], pad).to(map_.device)
    padded = map_[rows][:, columns][None, None]
    down = F.conv2d(padded, kernel.view(1, 1, -1, 1))
    return F.conv2d(down, kernel.view(1, 1, 1, -1))[0, 0]

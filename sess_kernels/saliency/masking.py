"""What methods share that mask or blur patches and ask the network again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.packing import fixed_batches


def ask(
    backbone: Backbone,
    total: int,
    size: int,
    make: Callable[[Tensor], Tensor],
    read: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Run images through the network that are made as they are needed, a device batch at a time.

    Args:
        backbone: The classifier.
        total: Number of images.
        size: Images of a device batch.
        make: Positions ``int64 (size,)`` to images (size, 3, S, S).
        read: Logits (size, outputs) and positions to what is kept of them (size, ...).

    Returns:
        What is kept of all images (total, ...).

    Example:
        >>> from sess_kernels.backbones import load_backbone
        >>> backbone = load_backbone("lite0")
        >>> black = torch.full((1, 3, 224, 224), -1.0)
        >>> make, read = lambda rows: black[rows * 0], lambda logits, rows: logits[:, 7]
        >>> ask(backbone, 3, 2, make, read).shape
        torch.Size([3])
    """
    found = []
    for rows in fixed_batches(total, size):
        rows = rows.to(backbone.device)
        found.append(read(logits_of(backbone, make(rows)), rows))
    return torch.cat(found)[:total]


def logits_of(backbone: Backbone, images: Tensor) -> Tensor:
    """Logits of images (N, 3, S, S) in one memory layout: another could change their bits."""
    logits: Tensor = backbone(images.contiguous(memory_format=torch.channels_last))[1]
    return logits


def unit_range(maps: Tensor) -> Tensor:
    """Min-max normalise each map (..., H, W); constant ones give zeros.

    Example:
        >>> unit_range(torch.tensor([[[2.0, 4.0]], [[3.0, 3.0]]])).tolist()
        [[[0.0, 1.0]], [[0.0, 0.0]]]
    """
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low), 0.0)


def blur_matrix(size: int, sigma: float, radius: int, mirrored: bool) -> Tensor:
    """Gaussian blur of ``size`` samples as a matrix (size, size): ``B @ image @ B.T`` blurs.

    Args:
        size: Number of samples.
        sigma: Standard deviation in samples; 0 changes nothing.
        radius: Samples on either side that the kernel reaches; its weights sum to 1.
        mirrored: The samples go on in their mirror image, without the edge; else in zeros.

    Example:
        >>> blur_matrix(3, 1e9, 1, mirrored=True)[0].mul(3).round().tolist()
        [1.0, 2.0, 0.0]
        >>> blur_matrix(3, 1e9, 1, mirrored=False)[0].mul(3).round().tolist()
        [1.0, 1.0, 0.0]
    """
    offset = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offset.double() / max(sigma, 1e-6)) ** 2)
    kernel = (kernel / kernel.sum()).expand(size, -1)
    place = torch.arange(size)[:, None] + offset
    if mirrored:
        period = max(2 * (size - 1), 1)
        place = place.remainder(period)
        place = torch.minimum(place, period - place)
    else:
        kernel = kernel * ((place >= 0) & (place < size))
        place = place.clamp(0, size - 1)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.scatter_add_(1, place, kernel).float()

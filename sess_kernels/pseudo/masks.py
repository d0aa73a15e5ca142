"""Masks from the maps of an image's classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sess_kernels.pseudo.config import MaskConfig
from sess_kernels.pseudo.refinements import refine

IGNORED = 255
_MOST_CLASSES = IGNORED - 1
_LEAST = 1e-5  # where a map is of zeros


def pseudo_mask(
    maps: Tensor,
    class_indices: Sequence[int],
    config: MaskConfig | None = None,
    image: Tensor | None = None,
) -> Tensor:
    """A mask of the classes of an image: the class of the largest value, or background.

    Args:
        maps: Maps (K, H, W) in [0, 1], one for each class.
        class_indices: The K classes, 0 to 253.
        config: Thresholds and refinement.
        image: Image (3, H, W), uint8, whose colours a refinement follows.

    Returns:
        uint8 (H, W) on the device of the maps: 0 background, class index + 1, 255 ignored.

    Raises:
        ValueError: If maps, classes and image do not go together.

    Example:
        >>> maps = torch.tensor([[[0.9, 0.4, 0.1]], [[0.2, 1.0, 0.2]]])
        >>> pseudo_mask(maps, [7, 2])
        tensor([[8, 3, 0]], dtype=torch.uint8)
        >>> pseudo_mask(maps, [7, 2], MaskConfig(ignore=(0.1, 0.3)))
        tensor([[  8,   3, 255]], dtype=torch.uint8)
    """
    config = config or MaskConfig()
    _check(maps, class_indices)
    values, device = maps.detach().float(), maps.device
    if not len(values):
        return torch.zeros(maps.shape[1:], dtype=torch.uint8, device=device)
    if config.normalize:
        values = values / values.amax((1, 2), keepdim=True).clamp(min=_LEAST)
    if config.refine != "none":
        values = refine(_fitting(image, maps, config).to(device), values, config)
    best, which = values.max(0)
    labels = torch.tensor(list(class_indices), device=device).add(1).to(torch.uint8)
    mask = labels[which].masked_fill_(best <= config.background, 0)
    if config.ignore is not None:
        low, high = config.ignore
        mask.masked_fill_((best >= low) & (best < high), IGNORED)
    return mask


def _check(maps: Tensor, class_indices: Sequence[int]) -> None:
    if maps.ndim != 3 or len(maps) != len(class_indices):
        raise ValueError(
            f"Expected maps (K, H, W), one for each of {len(class_indices)} classes, but got "
            f"{tuple(maps.shape)}"
        )
    if any(not 0 <= index < _MOST_CLASSES for index in class_indices):
        raise ValueError(
            f"Expected classes from 0 to {_MOST_CLASSES - 1}, for a mask has one byte a pixel, but "
            f"got {list(class_indices)}"
        )


def _fitting(image: Tensor | None, maps: Tensor, config: MaskConfig) -> Tensor:
    if image is None or image.shape != (3, *maps.shape[1:]):
        got = "none" if image is None else tuple(image.shape)
        raise ValueError(
            f"Expected an image (3, H, W) of the maps' size {tuple(maps.shape[1:])} for refine "
            f"{config.refine} but got {got}"
        )
    return image

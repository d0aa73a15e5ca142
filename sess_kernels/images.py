"""Images at the edge: what a user may give."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = NDArray[np.uint8] | Tensor
"""``uint8 (H, W, 3)`` RGB array, or tensor ``(3, H, W)`` with values 0 to 255."""


def to_tensor(image: Image) -> Tensor:
    """An image as a tensor (3, H, W).

    Raises:
        ValueError: If it has another shape or type.

    Example:
        >>> tuple(to_tensor(np.zeros((2, 5, 3), np.uint8)).shape)
        (3, 2, 5)
    """
    if isinstance(image, Tensor):
        if image.ndim != 3 or image.shape[0] != 3:
            raise ValueError(f"Expected a tensor (3, H, W) but got {tuple(image.shape)}")
        return image
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"Expected uint8 (H, W, 3) but got {image.dtype} {image.shape}")
    return torch.tensor(image).permute(2, 0, 1)

"""Gaussian noise that depends on a seed and a sample's number alone, never on patch or device."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_noise(n_samples: int, shape: tuple[int, ...], seed: int) -> list[Tensor]:
    """Standard normal noise, drawn on the CPU; sample k is the same however many are asked for.

    Args:
        n_samples: How many samples to draw.
        shape: Shape of one sample.
        seed: Any integer.

    Example:
        >>> few, many = gaussian_noise(2, (3, 8, 8), seed=0), gaussian_noise(5, (3, 8, 8), seed=0)
        >>> torch.equal(few[1], many[1]), torch.equal(few[0], few[1])
        (True, False)
    """
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(n_samples)]

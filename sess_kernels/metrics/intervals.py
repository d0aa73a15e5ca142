"""Confidence intervals by resampling images."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_RESAMPLES = 2000
_LEVEL = 0.95


class Interval(NamedTuple):
    """A figure with its 95 % bootstrap interval (percentiles)."""

    value: float
    low: float
    high: float


def bootstrap(
    n: int, figure: Callable[[Tensor], float], resamples: int = _RESAMPLES, seed: int = 0
) -> Interval:
    """Resample ``n`` things with replacement and see how a figure moves.

    Give the difference of two rivals as the figure and it is paired: both see the same things.

    Args:
        n: How many things there are.
        figure: Of chosen things, ``int64 (n,)`` their numbers; where it is NaN it is left out.
        resamples: How often.
        seed: Of the choices.

    Example:
        >>> hits = torch.tensor([1.0, 0.0, 1.0, 1.0])
        >>> bootstrap(4, lambda chosen: hits[chosen].mean().item())
        Interval(value=0.75, low=0.25, high=1.0)
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(n, (resamples, n), generator=generator)
    values = torch.tensor([figure(one) for one in chosen]).double()
    tail = (1 - _LEVEL) / 2
    low, high = values.nanquantile(torch.tensor([tail, 1 - tail]).double()).tolist()
    return Interval(figure(torch.arange(n)), low, high)

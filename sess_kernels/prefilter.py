"""Pre-filter: keep the patches that speak most for a class.

Paper section 3 and Algorithm 1 line 10.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sess_kernels.config import SESSConfig


def pre_filter(scores: Tensor, config: SESSConfig, margin: int = 0) -> Tensor:
    """Indices of the patches to keep, in the order of the patches.

    Args:
        scores: (N,) score of the class in each patch of one image.
        config: Gives the pre-filter ratio.
        margin: Patches to keep beyond that.

    Returns:
        ``int64 (config.kept(N) + margin,)``, at most N; of equal scores the earlier patch is kept.

    Example:
        >>> scores = torch.tensor([0.1, 0.7, 0.2, 0.7])
        >>> pre_filter(scores, SESSConfig(pre_filter_ratio=0.5)).tolist()
        [1, 3]
    """
    order = torch.sort(scores, descending=True, stable=True).indices
    return order[: config.kept(len(scores)) + margin].sort().values


def kept_of(scores: Tensor, config: SESSConfig) -> list[Tensor]:
    """The patches to keep for each class, of scores (K, N) of one image.

    Example:
        >>> scores = torch.tensor([[0.1, 0.9], [0.8, 0.2]])
        >>> [kept.tolist() for kept in kept_of(scores, SESSConfig(pre_filter_ratio=0.5))]
        [[1], [0]]
    """
    return [pre_filter(row, config) for row in scores]


def any_of(kept: Sequence[Tensor], total: int) -> Tensor:
    """Which of all patches some class keeps, ``bool (total,)``.

    Example:
        >>> any_of([torch.tensor([2]), torch.tensor([0, 2])], 4).tolist()
        [True, False, True, False]
    """
    found = torch.zeros(total, dtype=torch.bool)
    for patches in kept:
        found[patches] = True
    return found


def top_classes(scores: Tensor, top_k: int) -> list[int]:
    """The ``top_k`` classes by mean probability over patches (N, classes), best first.

    Example:
        >>> top_classes(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), 1)
        [1]
    """
    order = torch.sort(scores.mean(0), descending=True, stable=True).indices
    return [int(index) for index in order[:top_k]]

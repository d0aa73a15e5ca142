"""Reshape transforms: the output of a layer as a feature map (N, C, h, w)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from sess_kernels.errors import SessError

Reshape = Callable[[Tensor], Tensor]
"""(N, ...) -> (N, C, h, w); applied to features and to gradients with respect to them."""


@dataclass(frozen=True)
class Tokens:
    """The tokens (N, T, C) of a transformer as a map, row by row, without its leading tokens.

    Attributes:
        height: Rows of tokens.
        width: Tokens of a row.

    Example:
        >>> import torch
        >>> Tokens(14, 14)(torch.zeros(2, 197, 768)).shape
        torch.Size([2, 768, 14, 14])
    """

    height: int
    width: int

    def __call__(self, features: Tensor) -> Tensor:
        """(N, T, C) -> (N, C, height, width)."""
        tokens = features[:, features.shape[1] - self.height * self.width :]
        return tokens.transpose(1, 2).reshape(len(tokens), -1, self.height, self.width)


def channels_first(features: Tensor) -> Tensor:
    """(N, h, w, C) -> (N, C, h, w), as Swin needs it.

    Example:
        >>> import torch
        >>> channels_first(torch.zeros(2, 7, 7, 768)).shape
        torch.Size([2, 768, 7, 7])
    """
    return features.permute(0, 3, 1, 2)


def unchanged(features: Tensor) -> Tensor:
    """(N, C, h, w) as it is."""
    return features


def reshape_of(features: Tensor, where: str) -> Reshape:
    """The reshape transform that features of a square image need.

    Args:
        features: Output of the layer for a square image.
        where: Backbone and layer, for the message.

    Raises:
        SessError: If the output is no map and no sequence of tokens.

    Example:
        >>> import torch
        >>> reshape_of(torch.zeros(1, 197, 768), "vit at 'blocks.10'")
        Tokens(height=14, width=14)
    """
    if features.ndim == 3:
        side = math.isqrt(features.shape[1])
        return Tokens(side, side)
    if features.ndim != 4:
        raise SessError(
            f"{where} gives {tuple(features.shape)}, no feature map (N, C, h, w) and no tokens "
            "(N, T, C); name another layer or give a reshape"
        )
    _, first, second, third = features.shape
    return channels_first if first == second != third else unchanged

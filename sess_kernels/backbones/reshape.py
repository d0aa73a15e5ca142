"""Reshape transforms: the output of a layer as a feature map (N, C, h, w)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from sess_kernels.errors import SessError

Reshape = Callable[[Tensor], Tensor]
"""(N, ...) -> (N, C, h, w); applied to features and to gradients with respect to them."""

_MAX_LEADING = 16  # class, distillation and register tokens; with more it is another layout


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


def find_reshape(shape: Sequence[int]) -> Reshape | None:
    """The reshape transform for features of this shape, given for square images, or None.

    A sequence of tokens is a square map behind at most 16 leading tokens; a map whose sides differ
    unless its last axis is the channels has them last.

    Example:
        >>> find_reshape((1, 201, 384)), find_reshape((1, 384, 49)), find_reshape((1, 1000))
        (Tokens(height=14, width=14), None, None)
    """
    if len(shape) == 3 and shape[2] > 1:
        side = math.isqrt(shape[1])
        return Tokens(side, side) if shape[1] - side * side <= _MAX_LEADING else None
    if len(shape) != 4:
        return None
    _, first, second, third = shape
    return channels_first if first == second != third else unchanged


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
    found = find_reshape(features.shape)
    if found is None:
        raise SessError(
            f"{where} gives {tuple(features.shape)}, no feature map (N, C, h, w) and no tokens "
            "(N, T, C) of a square map; name another layer or give a reshape"
        )
    return found

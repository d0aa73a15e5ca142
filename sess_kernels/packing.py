"""Packing: images into groups whose patches go through the network together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sess_kernels.config import SESSConfig
from sess_kernels.windows import Grid, grids


def fixed_batches(total: int, size: int) -> Iterator[Tensor]:
    """Positions 0 to ``total - 1`` in batches of ``size``; the last one repeats its last position.

    Example:
        >>> [batch.tolist() for batch in fixed_batches(3, 2)]
        [[0, 1], [2, 2]]
    """
    yield from torch.split(torch.arange(-(-total // size) * size).clamp_max(total - 1), size)


@dataclass(frozen=True)
class Span:
    """Where the patches of one image lie among those of its group.

    Attributes:
        size: Height and width of the image in pixels.
        grids: Its windows.
        first: Index of its first patch.
        stop: Index behind its last patch.
    """

    size: tuple[int, int]
    grids: tuple[Grid, ...]
    first: int
    stop: int

    @property
    def first_scale(self) -> slice:
        """The patches of the first scale, whose windows cover the image."""
        return slice(self.first, self.first + len(self.grids[0]))


def groups(
    images: Sequence[Tensor], config: SESSConfig, input_size: int, max_patches: int
) -> Iterator[list[Span]]:
    """Images in order, together as long as they have at most ``max_patches`` patches.

    Args:
        images: Images (3, H, W).
        config: Settings of SESS.
        input_size: Input size of the backbone in pixels.
        max_patches: Limit of a group; an image with more makes a group of its own.

    Example:
        >>> images = [torch.zeros(3, 224, 224)] * 3
        >>> [len(group) for group in groups(images, SESSConfig(scales=2), 224, 10)]
        [2, 1]
    """
    group: list[Span] = []
    for image in images:
        height, width = image.shape[1:]
        windows = grids(height, width, config, input_size)
        n_patches = sum(map(len, windows))
        first = group[-1].stop if group else 0
        if group and first + n_patches > max_patches:
            yield group
            group, first = [], 0
        group.append(Span((height, width), windows, first, first + n_patches))
    if group:
        yield group

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


@dataclass
class Packing:
    """How full device batches were.

    Attributes:
        batches: Device batches that were run.
        full: Those of them without padding.
        patches: Patches that they held.
        slots: Patches that they could have held.

    Example:
        >>> packing = Packing()
        >>> packing.add(4, slots=4)
        >>> packing.add(1, slots=4)
        >>> packing
        Packing(batches=2, full=1, patches=5, slots=8)
    """

    batches: int = 0
    full: int = 0
    patches: int = 0
    slots: int = 0

    def add(self, patches: int, slots: int) -> None:
        """Count a device batch."""
        self.batches += 1
        self.full += patches == slots
        self.patches += patches
        self.slots += slots


@dataclass(frozen=True)
class Span:
    """Where the patches of one image lie among those of its group.

    Attributes:
        size: Height and width of the image in pixels.
        grids: Its windows.
        first: Row of its first patch among those of the group.
        stop: Row behind its last patch.
    """

    size: tuple[int, int]
    grids: tuple[Grid, ...]
    first: int
    stop: int

    @property
    def first_scale(self) -> slice:
        """The patches of the first scale, whose windows cover the image, if all of it is here."""
        return slice(self.first, self.first + len(self.grids[0]))


def groups(
    images: Sequence[Tensor],
    config: SESSConfig,
    input_size: int,
    max_patches: int,
    wanted: Sequence[int] | None = None,
) -> Iterator[list[Span]]:
    """Images in order, together as long as they have at most ``max_patches`` patches.

    Args:
        images: Images (3, H, W).
        config: Settings of SESS.
        input_size: Input size of the backbone in pixels.
        max_patches: Limit of a group; an image with more makes a group of its own.
        wanted: How many patches of each image are run; all of them if not given.

    Example:
        >>> images = [torch.zeros(3, 224, 224)] * 3
        >>> [len(group) for group in groups(images, SESSConfig(scales=2), 224, 10)]
        [2, 1]
        >>> [len(group) for group in groups(images, SESSConfig(scales=2), 224, 10, [2, 3, 4])]
        [3]
    """
    group: list[Span] = []
    for number, image in enumerate(images):
        height, width = image.shape[1:]
        windows = grids(height, width, config, input_size)
        n_patches = sum(map(len, windows)) if wanted is None else wanted[number]
        first = group[-1].stop if group else 0
        if group and first + n_patches > max_patches:
            yield group
            group, first = [], 0
        group.append(Span((height, width), windows, first, first + n_patches))
    if group:
        yield group

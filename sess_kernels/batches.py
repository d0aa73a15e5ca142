"""Patches of images in device batches of one fixed size.

With a fixed batch size a patch's bits do not depend on its place in the batch or on its neighbours,
so the last batch is padded, never cut short.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.fetch import sent
from sess_kernels.packing import Packing, Span, fixed_batches
from sess_kernels.patches import Patches

_GROUP_BYTES = 256 * 2**20  # what is kept of the patches of a group
_GROUP_BATCHES = 16  # but so many device batches at least: the last of a group is padded


class DeviceBatches:
    """Cuts patches into one buffer on the device, out of which batches are taken.

    Args:
        backbone: Whose patches; gives device, normalisation and input size.
        window: Side of the windows in pixels.
        size: Patches of a batch.

    Attributes:
        images: (rows, 3, S, S) the buffer: the patches of the last batch, or those of the whole
            group where they are kept.
        packing: How full the batches were.

    Example:
        >>> from sess_kernels import SESSConfig, load_backbone
        >>> from sess_kernels.packing import groups
        >>> image = torch.zeros(3, 224, 224)
        >>> [spans] = groups([image], SESSConfig(scales=2), 224, max_patches=100)
        >>> batches = DeviceBatches(load_backbone("lite0"), window=224, size=4)
        >>> [(first, len(batch)) for first, batch in batches([image], spans)]
        [(0, 4), (4, 4)]
        >>> batches.packing.patches, batches.packing.slots
        (5, 8)
    """

    def __init__(self, backbone: Backbone, window: int, size: int) -> None:
        self.packing = Packing()
        self._backbone, self._window, self._size = backbone, window, size
        self._shape = (3, backbone.input_size, backbone.input_size)
        self.images = self.empty(size, self._shape).zero_()

    def __call__(
        self,
        images: Sequence[Tensor],
        spans: Sequence[Span],
        wanted: Sequence[Tensor] | None = None,
        *,
        keep: bool = False,
    ) -> Iterator[tuple[int, Tensor]]:
        """Batches of the patches of a group, each with the row of its first patch.

        Args:
            images: The images (3, H, W) of the group.
            spans: Their patches.
            wanted: ``bool (N,)`` for each image: which of its patches; all if not given.
            keep: Let the patches of the whole group stay in ``images``.
        """
        total, size = spans[-1].stop, self._size
        for stop in self.load(images, spans, wanted, keep=keep):
            if stop % size == 0 or stop == total:
                first = (stop - 1) // size * size
                place = first if keep else 0
                yield first, self.images[place : place + size]
                self.packing.add(stop - first, size)

    def load(
        self,
        images: Sequence[Tensor],
        spans: Sequence[Span],
        wanted: Sequence[Tensor] | None = None,
        *,
        keep: bool = True,
    ) -> Iterator[int]:
        """Bring the patches of a group into ``images``; yields their number after each."""
        slots = self._size
        if keep:
            slots = self.rows(spans[-1].stop)
            self.reserve(slots)
        for row, patch in enumerate(self._patches(images, spans, wanted)):
            self.images[row % slots] = patch
            yield row + 1

    def again(self, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of some rows of ``images`` (n,), each with its rows ``int64 (size,)``."""
        for number, batch in enumerate(fixed_batches(len(rows), self._size)):
            chosen = rows[batch].to(self.images.device)
            yield chosen, self.images[chosen].contiguous(memory_format=torch.channels_last)
            self.packing.add(min(self._size, len(rows) - number * self._size), self._size)

    def batch(self, patches: Sequence[Tensor], first: int, *, keep: bool = False) -> Tensor:
        """A batch (size, 3, S, S) of at most ``size`` patches; what fills it up is anything.

        Args:
            patches: Normalised patches (3, S, S).
            first: Row of ``images`` that the first one takes, where they are kept.
            keep: Let them stay there; ``reserve`` must have made room.
        """
        place = first if keep else 0
        for row, patch in enumerate(patches, place):
            self.images[row] = patch
        self.packing.add(len(patches), self._size)
        return self.images[place : place + self._size]

    def patches(self, image: Tensor, span: Span, *, keep: bool = False) -> Patches:
        """The patches of an image, on the device, see ``Patches``."""
        image = sent(image, self._backbone.device)
        return Patches(image, span.grids, self._window, self._backbone, keep=keep)

    def reserve(self, rows: int) -> None:
        """Make room for so many patches in ``images``."""
        if len(self.images) < rows:
            self.images = self.empty(rows, self._shape).zero_()

    def max_patches(self, patch_bytes: int) -> int:
        """Patches of a group that keeps so many bytes of each."""
        most = _GROUP_BYTES // patch_bytes
        on_cpu = self._backbone.device.type == "cpu"
        return most if on_cpu else max(most, _GROUP_BATCHES * self._size)

    def rows(self, n_patches: int) -> int:
        """Rows that so many patches take in full batches."""
        return -(-n_patches // self._size) * self._size

    def empty(self, rows: int, shape: tuple[int, ...]) -> Tensor:
        """Memory on the device, in the order that the network wants and gives."""
        planes = len(shape) == 3 and shape[1] == shape[2]  # else tokens, or channels last already
        layout = torch.channels_last if planes else torch.contiguous_format
        return torch.empty((rows, *shape), device=self._backbone.device, memory_format=layout)

    def _patches(
        self, images: Sequence[Tensor], spans: Sequence[Span], wanted: Sequence[Tensor] | None
    ) -> Iterator[Tensor]:
        for number, (image, span) in enumerate(zip(images, spans, strict=True)):
            patches = self.patches(image, span)
            chosen = range(len(patches)) if wanted is None else wanted[number].nonzero().flatten()
            yield from (patches[int(index)] for index in chosen)

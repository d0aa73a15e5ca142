"""Device batches: patches of several images packed into full batches of one fixed size.

With a fixed batch size a patch's bits do not depend on its place in the batch or on its neighbours,
so the last batch is padded, never cut short.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.config import SESSConfig
from sess_kernels.patches import extract
from sess_kernels.prefilter import class_scores
from sess_kernels.windows import Grid, grids


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


class PatchScorer:
    """Runs patches through a backbone in device batches.

    Args:
        backbone: The classifier.
        window: Side of the windows in pixels.
        batch_size: Patches of a device batch.

    Attributes:
        batch: The device batch (batch_size, 3, S, S) that every patch goes through.
        feature_shape: (C, h, w) of one patch.
    """

    def __init__(self, backbone: Backbone, window: int, batch_size: int) -> None:
        self.backbone = backbone
        self.window = window
        self.batch_size = batch_size
        size = backbone.input_size
        self.batch = torch.zeros((batch_size, 3, size, size), device=backbone.device)
        self.batch = self.batch.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            self.feature_shape = tuple(backbone.body(self.batch[:1]).shape[1:])
        self._features = torch.empty((0, *self.feature_shape), device=backbone.device)

    def __call__(self, images: Sequence[Tensor], spans: Sequence[Span]) -> tuple[Tensor, Tensor]:
        """Features (P, C, h, w) on the device and scores (P, classes) on the CPU of a group.

        The features are valid until the next call.
        """
        total, size = spans[-1].stop, self.batch_size
        n_batches = -(-total // size)
        features = self._room_for(n_batches * size)
        logits = torch.empty(
            (n_batches * size, self.backbone.n_classes), device=self.backbone.device
        )
        for number, patch in enumerate(self._patches(images, spans), start=1):
            self.batch[(number - 1) % size] = patch
            if number % size == 0 or number == total:
                batch = slice((number - 1) // size * size, -(-number // size) * size)
                features[batch], logits[batch] = self.backbone(self.batch)
        return features[:total], class_scores(logits[:total]).cpu()

    def _room_for(self, n_patches: int) -> Tensor:
        """Memory for the features, kept between calls: fresh pages cost more than writing them."""
        if len(self._features) < n_patches:
            self._features = torch.empty(
                (n_patches, *self.feature_shape),
                device=self.backbone.device,
                memory_format=torch.channels_last,
            )
        return self._features[:n_patches]

    def _patches(self, images: Sequence[Tensor], spans: Sequence[Span]) -> Iterator[Tensor]:
        for image, span in zip(images, spans, strict=True):
            image = image.to(self.backbone.device)
            yield from extract(image, span.grids, self.window, self.backbone)

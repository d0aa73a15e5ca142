"""Scores of patches: device batches of one fixed size through the network.

With a fixed batch size a patch's bits do not depend on its place in the batch or on its neighbours,
so the last batch is padded, never cut short.

In reduced precision the order of the scores changes, and with it the patches that the pre-filter
keeps. ``fast`` therefore scores everything in bfloat16 and repeats in float32 what may be kept:
the best patches of each class and a margin behind them. As long as the margin holds every patch
that the order has lost, the result is bit-equal to float32's.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.config import SESSConfig
from sess_kernels.packing import Span, fixed_batches
from sess_kernels.patches import extract
from sess_kernels.prefilter import pre_filter, top_classes
from sess_kernels.saliency.base import BaseMethod, GradientMethod, ImageMethod

PRECISIONS = {"fp32": None, "fast": torch.bfloat16, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Precisions by name, and the type that patches are scored in where it is not float32."""

MARGIN = 0.04  # of all patches of an image: those behind the kept ones that float32 scores too
MAX_REPEATED = 0.35  # share of the patches; above it scoring twice saves too little
_ROUNDING = 1e-9


class Scored(NamedTuple):
    """What is known of the patches of a group; valid until the next group.

    Attributes:
        images: (P, 3, S, S) normalised patches on the device; no entries unless they are kept.
        features: (P, ...) output of the target layer on the device.
        scores: (P, classes) probabilities on the CPU; -1 in a patch that cannot be kept.
        classes: The classes of each image.
        maps: (P, h, w) map of each patch for the first class of its image, if the method gave it
            with the scores.
    """

    images: Tensor
    features: Tensor
    scores: Tensor
    classes: list[Sequence[int]]
    maps: Tensor | None


class PatchScorer:
    """Runs the patches of groups through a backbone.

    Args:
        backbone: The classifier.
        config: Settings of SESS, with the window size set.
        batch_size: Patches of a device batch.
        method: The base method that the patches are scored for.
        precision: A key of ``PRECISIONS``.

    Attributes:
        patch_bytes: Memory that each patch of a group takes.
    """

    def __init__(
        self,
        backbone: Backbone,
        config: SESSConfig,
        batch_size: int,
        method: BaseMethod,
        precision: str = "fp32",
    ) -> None:
        assert config.window_size is not None
        self.backbone, self.config, self.batch_size = backbone, config, batch_size
        self.window: int = config.window_size
        self._fast = precision == "fast" and _pays(config)
        self._keep = method.needs_images or self._fast
        keeps_all = not config.pre_filter_ratio and precision in ("fp32", "fast")
        self._method = method if keeps_all and _in_one_pass(method) else None
        self._dtype = PRECISIONS[precision] if self._fast or precision != "fast" else None
        self._first = backbone if self._dtype is None else copy.deepcopy(backbone).to(self._dtype)
        self._image_shape = (3, backbone.input_size, backbone.input_size)
        self._images = self._empty(batch_size, self._image_shape).zero_()
        self._features = self._empty(0, backbone.feature_shape)
        kept = math.prod(self._image_shape) if self._keep else 0
        self.patch_bytes = 4 * (math.prod(backbone.feature_shape) + kept + backbone.n_classes)

    def __call__(
        self,
        images: Sequence[Tensor],
        spans: Sequence[Span],
        given: Sequence[Sequence[int] | None],
        top_k: int,
    ) -> Scored:
        """Score the patches of a group.

        Args:
            images: The images (3, H, W) of the group.
            spans: Their patches.
            given: The classes of each image; ``None`` takes the best ``top_k`` of the first scale.
            top_k: Classes to take where none are given.
        """
        self._reserve(spans[-1].stop)
        maps = None
        if self._method and all(given):
            scores, maps = self._explain_all(self._method, images, spans, given)
        else:
            scores = self._score_all(images, spans)
        if self._fast:
            rough, scores = scores, torch.full_like(scores, -1)
            rows = torch.arange(len(scores))
            self._score_again(torch.cat([rows[span.first_scale] for span in spans]), scores)
        classes = [
            chosen if chosen is not None else top_classes(scores[span.first_scale], top_k)
            for span, chosen in zip(spans, given, strict=True)
        ]
        if self._fast:
            self._score_again(self._hopeful(spans, classes, rough), scores)
        total = len(scores)
        kept = self._images[: total if self._keep else 0]
        return Scored(kept, self._features[:total], scores, classes, maps)

    @property
    def fixed_batch(self) -> Tensor:
        """Patches (batch_size, 3, S, S) as the network gets them, whatever they show."""
        return self._images[: self.batch_size]

    def floor(self, n_batches: int) -> None:
        """As many bare forwards of the fixed batch, what a benchmark compares with."""
        for _ in range(n_batches):
            self.backbone(self.fixed_batch)

    def _score_all(self, images: Sequence[Tensor], spans: Sequence[Span]) -> Tensor:
        found = []
        for first, batch in self._batches(images, spans):
            features, logits = self._forward(batch.to(self._dtype))
            self._features[first : first + self.batch_size] = features
            found.append(self.backbone.scores(logits))
        return torch.cat(found)[: spans[-1].stop].cpu()

    def _forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        if self._method is None:
            found: tuple[Tensor, Tensor] = self._first(batch)
            return found
        # as in `_explain_all`: attention takes another path, with other bits, without autograd
        with torch.enable_grad():
            features, logits = self._first(batch.detach().requires_grad_())
        return features.detach(), logits.detach()

    def _explain_all(
        self,
        method: GradientMethod,
        images: Sequence[Tensor],
        spans: Sequence[Span],
        given: Sequence[Sequence[int] | None],
    ) -> tuple[Tensor, Tensor]:
        """Scores of all patches and their maps for the first class of their image, in one pass."""
        firsts = [indices[0] for indices in given if indices]
        lengths = torch.tensor([span.stop - span.first for span in spans])
        wanted = torch.tensor(firsts).repeat_interleave(lengths)
        rows = torch.arange(self.batch_size)
        scores, maps = [], []
        for first, batch in self._batches(images, spans):
            classes = wanted[(first + rows).clamp_max(len(wanted) - 1)].to(batch.device)
            found, logits = method.differentiate(self.backbone, batch, classes)
            maps.append(found)
            scores.append(self.backbone.scores(logits))
        total = len(wanted)
        return torch.cat(scores)[:total].cpu(), torch.cat(maps)[:total]

    def _batches(
        self, images: Sequence[Tensor], spans: Sequence[Span]
    ) -> Iterator[tuple[int, Tensor]]:
        """Full device batches of the patches of a group, each with the number of its first one."""
        total, size, slots = spans[-1].stop, self.batch_size, len(self._images)
        for number, patch in enumerate(self._patches(images, spans), start=1):
            self._images[(number - 1) % slots] = patch
            if number % size == 0 or number == total:
                first = (number - 1) // size * size
                yield first, self._images[first % slots : first % slots + size]

    def _score_again(self, rows: Tensor, scores: Tensor) -> None:
        """Features and scores of some patches in float32, in full device batches."""
        found = []
        for batch in fixed_batches(len(rows), self.batch_size):
            patches = rows[batch].to(self._images.device)
            images = self._images[patches].contiguous(memory_format=torch.channels_last)
            self._features[patches], logits = self.backbone(images)
            found.append(self.backbone.scores(logits))
        if found:
            scores[rows] = torch.cat(found)[: len(rows)].cpu()

    def _hopeful(
        self, spans: Sequence[Span], classes: Sequence[Sequence[int]], rough: Tensor
    ) -> Tensor:
        """Patches that the pre-filter may keep for some class, apart from those of scale one."""
        hopeful = torch.zeros(len(rough), dtype=torch.bool)
        for span, indices in zip(spans, classes, strict=True):
            margin = math.ceil(MARGIN * (span.stop - span.first))
            for index in indices:
                found = pre_filter(rough[span.first : span.stop, index], self.config, margin)
                hopeful[span.first + found] = True
        for span in spans:
            hopeful[span.first_scale] = False
        return hopeful.nonzero().flatten()

    def _reserve(self, n_patches: int) -> None:
        """Memory, kept between calls: fresh pages cost more than writing them."""
        rows = -(-n_patches // self.batch_size) * self.batch_size
        if len(self._features) < rows:
            self._features = self._empty(rows, self.backbone.feature_shape)
        if self._keep and len(self._images) < rows:
            self._images = self._empty(rows, self._image_shape).zero_()

    def _empty(self, rows: int, shape: tuple[int, ...]) -> Tensor:
        planes = len(shape) == 3 and shape[1] == shape[2]  # else tokens, or channels last already
        layout = torch.channels_last if planes else torch.contiguous_format
        return torch.empty((rows, *shape), device=self.backbone.device, memory_format=layout)

    def _patches(self, images: Sequence[Tensor], spans: Sequence[Span]) -> Iterator[Tensor]:
        for image, span in zip(images, spans, strict=True):
            image = image.to(self.backbone.device)
            yield from extract(image, span.grids, self.window, self.backbone)


def _pays(config: SESSConfig) -> bool:
    return 1 - config.pre_filter_ratio + MARGIN <= MAX_REPEATED + _ROUNDING


def _in_one_pass(method: BaseMethod) -> TypeGuard[GradientMethod]:
    """Whether the forward of the method may serve as the scoring one, nothing else wanted of it."""
    if not isinstance(method, GradientMethod):
        return False
    kind = type(method)
    return kind.__call__ is ImageMethod.__call__ and kind.maps is GradientMethod.maps

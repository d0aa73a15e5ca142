"""Scores of patches: device batches of one fixed size through the network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeGuard

import torch
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.backbones.runtimes import with_runtime
from sess_kernels.batches import DeviceBatches
from sess_kernels.config import SESSConfig
from sess_kernels.packing import Packing, Span, groups
from sess_kernels.precision import PRECISIONS, hopeful, pays
from sess_kernels.prefilter import top_classes
from sess_kernels.results import Scored
from sess_kernels.saliency.base import BaseMethod, GradientMethod, ImageMethod


class PatchScorer:
    """Runs the patches of groups through a backbone.

    Args:
        backbone: The classifier.
        config: Settings of SESS, with the window size set.
        batch_size: Patches of a device batch.
        method: The base method that the patches are scored for.
        precision: A key of ``PRECISIONS``.
        runtime: One of ``runtimes.RUNTIMES``, what runs ``backbone`` already.
    """

    def __init__(
        self,
        backbone: Backbone,
        config: SESSConfig,
        batch_size: int,
        method: BaseMethod,
        precision: str = "fp32",
        runtime: str = "torch",
    ) -> None:
        assert config.window_size is not None
        self.backbone, self.config, self.batch_size = backbone, config, batch_size
        self._fast = precision == "fast" and pays(config)
        self._images_needed, self._features_needed = method.needs_images, method.needs_features
        keeps_all = not config.pre_filter_ratio and precision in ("fp32", "fast")
        self._method = method if keeps_all and _in_one_pass(method) else None
        self._dtype = PRECISIONS[precision] if self._fast or precision != "fast" else None
        self._first = backbone
        if self._dtype is not None:
            self._first = with_runtime(backbone, runtime, batch_size, self._dtype)
        self._batches = DeviceBatches(backbone, config.window_size, batch_size)
        self._features = self._batches.empty(0, backbone.feature_shape)

    def __call__(
        self,
        images: Sequence[Tensor],
        spans: Sequence[Span],
        given: Sequence[Sequence[int] | None],
        top_k: int,
        *,
        keep: bool = True,
    ) -> Scored:
        """Score the patches of a group.

        Args:
            images: The images (3, H, W) of the group.
            spans: Their patches.
            given: The classes of each image; ``None`` takes the best ``top_k`` of the first scale.
            top_k: Classes to take where none are given.
            keep: Keep what the method needs of the patches too; the scores alone if False.
        """
        maps = None
        if keep and self._method and all(given):
            scores, maps = self._explain_all(self._method, images, spans, given)
        else:
            scores = self._score_all(images, spans, keep)
        if self._fast:
            rough, scores = scores, torch.full_like(scores, -1)
            rows = torch.arange(len(scores))
            first_scales = torch.cat([rows[span.first_scale] for span in spans])
            self._score_again(first_scales, scores, keep)
        classes = [
            chosen if chosen is not None else top_classes(scores[span.first_scale], top_k)
            for span, chosen in zip(spans, given, strict=True)
        ]
        if self._fast:
            self._score_again(hopeful(rough, spans, classes, self.config), scores, keep)
        return Scored(*self._kept(len(scores) if keep else 0), scores, classes, maps)

    def load(
        self, images: Sequence[Tensor], spans: Sequence[Span], wanted: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Patches and features of some patches, with the bits that scoring gives them.

        Args:
            images: The images (3, H, W) of a group.
            spans: Their wanted patches.
            wanted: ``bool (N,)`` for each image: which of its patches.

        Returns:
            What a ``Query`` wants; no entries in what the method does not need.
        """
        total = spans[-1].stop
        if self._features_needed:
            network, dtype = (self.backbone, None) if self._fast else (self._first, self._dtype)
            self._reserve(total)
            batches = self._batches(images, spans, wanted, keep=self._images_needed)
            for first, batch in batches:
                features, _ = network(batch.to(dtype))
                self._features[first : first + self.batch_size] = features
        else:
            for _ in self._batches.load(images, spans, wanted):
                pass
        return self._kept(total)

    def groups(
        self, images: Sequence[Tensor], wanted: Sequence[int] | None = None, *, keep: bool = True
    ) -> Iterator[list[Span]]:
        """Images in order, together as long as what is kept of their patches fits.

        Args:
            images: Images (3, H, W).
            wanted: How many patches of each image are run; all of them if not given.
            keep: As in a call.
        """
        most = self._batches.max_patches(4 * self._values(keep))
        return groups(images, self.config, self.backbone.input_size, most, wanted)

    @property
    def packing(self) -> Packing:
        """How full the device batches were."""
        return self._batches.packing

    @property
    def fixed_batch(self) -> Tensor:
        """Patches (batch_size, 3, S, S) as the network gets them, whatever they show."""
        return self._batches.images[: self.batch_size]

    @property
    def networks(self) -> list[tuple[Backbone, torch.dtype | None]]:
        """What scores patches, each with the type that it takes them in if not its own."""
        repeating: list[tuple[Backbone, torch.dtype | None]] = [(self.backbone, None)]
        return [(self._first, self._dtype), *(repeating if self._fast else [])]

    def buffer_rows(self, n_patches: int) -> tuple[int, int]:
        """Rows of the buffers of patches and of features for a group of so many patches."""
        rows = self._batches.rows(n_patches)
        keep_images = self._fast or self._images_needed
        return rows if keep_images else self.batch_size, rows if self._features_needed else 0

    def floor(self, n_batches: int) -> None:
        """As many bare forwards of the fixed batch, what a benchmark compares with."""
        for _ in range(n_batches):
            self.backbone(self.fixed_batch)

    def _values(self, keep: bool) -> int:
        """How many numbers of each patch stay."""
        values = self.backbone.n_classes
        if self._fast or (keep and self._images_needed):
            values += math.prod(self.fixed_batch.shape[1:])
        if keep and self._features_needed:
            values += math.prod(self.backbone.feature_shape)
        return values

    def _kept(self, total: int) -> tuple[Tensor, Tensor]:
        images = self._batches.images[: total * self._images_needed]
        return images, self._features[: total * self._features_needed]

    def _score_all(self, images: Sequence[Tensor], spans: Sequence[Span], keep: bool) -> Tensor:
        found = []
        keep_features = keep and self._features_needed
        if keep_features:
            self._reserve(spans[-1].stop)
        keep_images = self._fast or (keep and self._images_needed)
        for first, batch in self._batches(images, spans, keep=keep_images):
            features, logits = self._forward(batch.to(self._dtype))
            if keep_features:
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
        for first, batch in self._batches(images, spans, keep=self._images_needed):
            classes = wanted[(first + rows).clamp_max(len(wanted) - 1)].to(batch.device)
            found, logits = method.differentiate(self.backbone, batch, classes)
            maps.append(found)
            scores.append(self.backbone.scores(logits))
        total = len(wanted)
        return torch.cat(scores)[:total].cpu(), torch.cat(maps)[:total]

    def _score_again(
        self, patches: Tensor, scores: Tensor, keep: bool, rows: Tensor | None = None
    ) -> None:
        """Features and scores of some patches in float32, in full device batches.

        Args:
            patches: ``int64 (n,)`` the patches.
            scores: (P, classes) where their scores go.
            keep: Keep the features.
            rows: ``int64 (P,)`` where patches lie in the buffers; in order if not given.
        """
        found = []
        for chosen, batch in self._batches.again(patches if rows is None else rows[patches]):
            features, logits = self.backbone(batch)
            if keep and self._features_needed:
                self._features[chosen] = features
            found.append(self.backbone.scores(logits))
        if found:
            scores[patches] = torch.cat(found)[: len(patches)].cpu()

    def _reserve(self, n_patches: int) -> None:
        """Memory, kept between calls: fresh pages cost more than writing them."""
        rows = self._batches.rows(n_patches)
        if len(self._features) < rows:
            self._features = self._batches.empty(rows, self.backbone.feature_shape)


def _in_one_pass(method: BaseMethod) -> TypeGuard[GradientMethod]:
    """Whether the forward of the method may serve as the scoring one, nothing else wanted of it."""
    if not isinstance(method, GradientMethod):
        return False
    kind = type(method)
    return kind.__call__ is ImageMethod.__call__ and kind.maps is GradientMethod.maps

"""Saliency and fusion: maps of the patches that the pre-filter kept, into the maps of classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sess_kernels.backbones import Backbone
from sess_kernels.checks import check_finite
from sess_kernels.config import SESSConfig
from sess_kernels.fuse import (
    SMALL,
    PatchMaps,
    channel_weights,
    fuse,
    min_max,
    rescale,
)
from sess_kernels.packing import Span, fixed_batches
from sess_kernels.results import ClassSaliency, PatchSaliency, PatchScores, patches_of
from sess_kernels.saliency import BaseMethod, Query
from sess_kernels.smooth import smooth
from sess_kernels.triton import available
from sess_kernels.windows import windows_of

_MAPS_BYTES = 256 * 2**20  # of the maps of patches that are made together
_SMALL_MAPS = 32  # normalised together at least, where they are no larger than CAMs


class Job(NamedTuple):
    """One map to make.

    Attributes:
        span: The image.
        class_index: The class.
        scores: (N,) score of the class in each patch of the image.
        kept: ``int64 (n,)`` the patches of the image that the pre-filter left.
        rows: ``int64 (n,)`` where these lie among the patches of the group.
        maps: (n, h, w) of these patches, if they came with the scores.
    """

    span: Span
    class_index: int
    scores: Tensor
    kept: Tensor
    rows: Tensor
    maps: Tensor | None


def jobs_of(
    span: Span,
    scores: PatchScores,
    kept: Sequence[Tensor],
    rows: Tensor,
    maps: Tensor | None = None,
) -> list[Job]:
    """The maps to make of one image.

    Args:
        span: The image.
        scores: Its classes and their scores.
        kept: The patches that the pre-filter left for each class.
        rows: ``int64 (N,)`` where each patch of the image lies among those of the group.
        maps: (P, h, w) maps of the patches of the group for the first class of their image.
    """
    found: list[Job] = []
    for index, row, left in zip(scores.classes, scores.scores, kept, strict=True):
        done = maps[span.first : span.stop] if maps is not None and not found else None
        found.append(Job(span, index, row, left, rows[left], done))
    return found


def in_one_launch(device: torch.device) -> bool:
    """Whether the maps on a device are fused together: on CUDA, unless the kernel fails there.

    Example:
        >>> in_one_launch(torch.device("cpu"))
        False
    """
    return device.type == "cuda" and available(device)


class Explainer:
    """Runs the base method on kept patches and fuses their maps.

    Args:
        backbone: The classifier.
        method: The base method.
        config: Settings of SESS, with the window size set.
        batch_size: Patches of a device batch.
    """

    def __init__(
        self, backbone: Backbone, method: BaseMethod, config: SESSConfig, batch_size: int
    ) -> None:
        assert config.window_size is not None
        self._backbone, self._method, self._config = backbone, method, config
        self._window: int = config.window_size
        self._batch_size = batch_size

    def __call__(
        self, jobs: Sequence[Sequence[Job]], images: Tensor, features: Tensor, keep_patches: bool
    ) -> list[list[ClassSaliency]]:
        """The maps of each image of a group.

        Args:
            jobs: The maps to make of each image.
            images: (P, 3, S, S) the patches of the group, if the method needs them.
            features: (P, ...) their features, if the method needs them.
            keep_patches: Return the maps of the kept patches too.

        Raises:
            SessError: If maps are not finite.
        """
        found = []
        for some in self._together([job for of_image in jobs for job in of_image]):
            maps = self._maps(some, images, features)
            weighted = [self._weighted(*pair) for pair in zip(some, maps, strict=True)]
            for job, one, map_ in zip(some, weighted, self._fused(weighted), strict=True):
                found.append(self._found(job, one, map_, keep_patches))
        rest = iter(found)
        return [[next(rest) for _ in of_image] for of_image in jobs]

    def _together(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Jobs in order, together while their maps fit: they may be as large as the patches."""
        limit = max(1, _MAPS_BYTES // (4 * self._backbone.input_size**2))
        some: list[Job] = []
        for job in jobs:
            if some and sum(len(one.kept) for one in (*some, job)) > limit:
                yield some
                some = []
            some.append(job)
        if some:
            yield some

    def _maps(self, jobs: Sequence[Job], images: Tensor, features: Tensor) -> Iterator[Tensor]:
        """The normalised maps of the kept patches of each job."""
        asked = [job for job in jobs if job.maps is None]
        found: Iterator[Tensor] = iter(())
        if asked:
            patches = torch.cat([job.rows for job in asked])
            classes = torch.cat([torch.full((len(job.rows),), job.class_index) for job in asked])
            query = Query(images, features, patches, classes, self._batch_size)
            maps = self._normalized(self._method(self._backbone, query))
            found = iter(torch.split(maps, [len(job.rows) for job in asked]))
        for job in jobs:
            yield next(found) if job.maps is None else self._normalized(job.maps)

    def _normalized(self, maps: Tensor) -> Tensor:
        """Min-max normalised maps, in batches of one size: a product's bits depend on it."""
        check_finite(maps, f"maps of {self._method.title}")
        are_small = max(maps.shape[1:]) <= SMALL
        size = max(self._batch_size, _SMALL_MAPS) if are_small else self._batch_size
        for batch in fixed_batches(len(maps), size):
            rows = batch.to(maps.device)
            maps[rows] = min_max(maps[rows], self._window)
        return maps

    def _weighted(self, job: Job, maps: Tensor) -> PatchMaps:
        windows = windows_of(job.span.grids)
        chosen = [windows[i] for i in job.kept.tolist()]
        weights = channel_weights(job.scores[job.kept], self._config)
        return PatchMaps(maps, weights, chosen, job.span.size)

    def _fused(self, weighted: Sequence[PatchMaps]) -> Iterator[Tensor]:
        """The fused map of each: on CUDA all in one launch, elsewhere one after another."""
        if not in_one_launch(weighted[0].maps.device):
            for one in weighted:
                yield fuse(*one, self._config)
            return
        from sess_kernels.triton.fusion import fuse_all

        fused = fuse_all(weighted, self._config)[::-1]
        while fused:
            yield fused.pop()  # its memory is free as soon as it is normalised

    def _found(
        self, job: Job, weighted: PatchMaps, map_: Tensor, keep_patches: bool
    ) -> ClassSaliency:
        if self._config.normalize:
            map_ = rescale(map_)
        if self._config.smooth:
            map_ = smooth(map_)
        patches: tuple[PatchSaliency, ...] = ()
        if keep_patches:
            scores = job.scores[job.kept]
            patches = patches_of(job.span, weighted.windows, self._window, scores, weighted.maps)
        return ClassSaliency(job.class_index, self._score(job), len(job.kept), map_, patches)

    def _score(self, job: Job) -> float:
        first_scale = job.scores[: len(job.span.grids[0])]
        # a column of all classes' scores again: torch sums adjacent floats in another order
        column = first_scale.new_empty(len(first_scale), self._backbone.n_classes)[:, 0]
        return column.copy_(first_scale).mean().item()

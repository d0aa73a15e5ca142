"""SESS: scaling, sliding, pre-filter, saliency, fusion, smoothing (paper Algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sess_kernels.backbones import Backbone, load_backbone
from sess_kernels.checks import check, check_classes, check_finite
from sess_kernels.config import SESSConfig
from sess_kernels.fuse import SMALL, channel_weights, fuse, min_max, rescale, windows_of
from sess_kernels.images import Image, to_tensor
from sess_kernels.memory import keep_freed_memory
from sess_kernels.packing import Span, fixed_batches, groups
from sess_kernels.precision import exact_fp32
from sess_kernels.prefilter import pre_filter
from sess_kernels.results import ClassSaliency, PatchSaliency, patches_of
from sess_kernels.saliency import BaseMethod, Explain, Query, base_method
from sess_kernels.scorer import PatchScorer, Scored
from sess_kernels.smooth import smooth

_GROUP_BYTES = 256 * 2**20  # what is kept of the patches that wait for the pre-filter
_GROUP_BATCHES = 16  # but so many device batches at least: the last of a group is padded
_SMALL_MAPS = 32  # normalised together at least, where they are no larger than CAMs
_DEFAULT_BATCH = {"cpu": 4, "cuda": 128}


class _Job(NamedTuple):
    """One map to make."""

    span: Span
    class_index: int
    kept: Tensor  # (n,) patches of the group that the pre-filter left
    maps: Tensor | None  # of these patches, if they came with the scores


class SESS:
    """SESS around a base saliency method and a backbone, for many images at a time.

    Patches of several images fill device batches of one fixed size, the last one padded; a patch's
    bits then do not depend on its neighbours, and a map's not on what it was computed with.

    On a CPU the process keeps up to 512 MiB of freed memory, see ``memory.keep_freed_memory``.

    Args:
        backbone: A ``Backbone`` or its name.
        method: Name of the base saliency method, a ``BaseMethod``, or any callable
            ``(images (N, 3, S, S), class_index (N,)) -> maps (N, h, w)``.
        config: Settings of SESS.
        batch_size: Patches of a device batch; 4 on CPU and 128 on CUDA if not given.
        precision: ``fp32``; ``fast`` scores patches in bfloat16 and repeats in float32 what the
            pre-filter may keep; ``bf16`` and ``fp16`` score in that precision alone.
        method_options: Options of a method given by name.

    Raises:
        SessError: If a name is unknown, or the method cannot explain the backbone.

    Example:
        >>> from skimage.data import chelsea
        >>> explain = SESS("lite0", config=SESSConfig(scales=2))
        >>> [[cat]] = explain([chelsea()], [[285]])
        >>> tuple(cat.map.shape), cat.n_kept
        ((300, 451), 6)
    """

    def __init__(
        self,
        backbone: Backbone | str = "lite0",
        method: str | BaseMethod | Explain = "gradcam",
        config: SESSConfig | None = None,
        batch_size: int | None = None,
        precision: str = "fp32",
        method_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.backbone = load_backbone(backbone) if isinstance(backbone, str) else backbone
        self.method = base_method(method, method_options)
        check(self.backbone, self.method, precision, batch_size)
        if self.backbone.device.type == "cpu":
            keep_freed_memory()
        self.config = (config or SESSConfig()).for_input(self.backbone.input_size)
        default = self.backbone.batch_size or _DEFAULT_BATCH.get(self.backbone.device.type, 4)
        self.batch_size = batch_size or default
        self.score = PatchScorer(
            self.backbone, self.config, self.batch_size, self.method, precision
        )

    @exact_fp32()
    @torch.no_grad()
    def __call__(
        self,
        images: Sequence[Image],
        class_indices: Sequence[Sequence[int] | None],
        top_k: int = 1,
        keep_patches: bool = False,
    ) -> list[list[ClassSaliency]]:
        """Maps of every class of every image.

        Args:
            images: Images of any sizes.
            class_indices: The classes of each image; ``None`` takes the ``top_k`` classes by mean
                probability over the windows of the first scale.
            top_k: Classes to take where none are given.
            keep_patches: Return the maps of the kept patches too.

        Returns:
            For each image one ``ClassSaliency`` a class, in the order of the classes.

        Raises:
            ValueError: If an image has another shape, or a class is out of range.
            SessError: If scores or maps are not finite.
        """
        tensors = [to_tensor(image) for image in images]
        check_classes(len(tensors), class_indices, self.backbone.n_classes)
        found: list[list[ClassSaliency]] = []
        max_patches = _GROUP_BYTES // self.score.patch_bytes
        if self.backbone.device.type != "cpu":
            max_patches = max(max_patches, _GROUP_BATCHES * self.batch_size)
        for spans in groups(tensors, self.config, self.backbone.input_size, max_patches):
            group = slice(len(found), len(found) + len(spans))
            scored = self.score(tensors[group], spans, class_indices[group], top_k)
            check_finite(scored.scores, f"scores of {self.backbone.name}")
            found += self._explain(spans, scored, keep_patches)
        return found

    def _explain(
        self, spans: Sequence[Span], scored: Scored, keep_patches: bool
    ) -> list[list[ClassSaliency]]:
        jobs = [
            self._job(span, index, scored, is_first=number == 0)
            for span, classes in zip(spans, scored.classes, strict=True)
            for number, index in enumerate(classes)
        ]
        found: dict[int, list[ClassSaliency]] = {span.first: [] for span in spans}
        for some in self._together(jobs):
            for job, part in zip(some, self._maps(some, scored), strict=True):
                found[job.span.first].append(self._fuse(job, part, scored.scores, keep_patches))
        return list(found.values())

    def _together(self, jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
        """Jobs in order, together while their maps fit: they may be as large as the patches."""
        limit = max(1, _GROUP_BYTES // (4 * self.backbone.input_size**2))
        some: list[_Job] = []
        for job in jobs:
            if some and sum(len(one.kept) for one in (*some, job)) > limit:
                yield some
                some = []
            some.append(job)
        if some:
            yield some

    def _job(self, span: Span, class_index: int, scored: Scored, *, is_first: bool) -> _Job:
        patches = slice(span.first, span.stop)
        kept = span.first + pre_filter(scored.scores[patches, class_index], self.config)
        done = scored.maps[patches] if scored.maps is not None and is_first else None
        return _Job(span, class_index, kept, done)

    def _maps(self, jobs: Sequence[_Job], scored: Scored) -> Iterator[Tensor]:
        """The normalised maps of the kept patches of each job."""
        asked = [job for job in jobs if job.maps is None]
        found: Iterator[Tensor] = iter(())
        if asked:
            patches = torch.cat([job.kept for job in asked])
            classes = torch.cat([torch.full((len(job.kept),), job.class_index) for job in asked])
            query = Query(scored.images, scored.features, patches, classes, self.batch_size)
            maps = self._normalized(self.method(self.backbone, query))
            found = iter(torch.split(maps, [len(job.kept) for job in asked]))
        for job in jobs:
            yield next(found) if job.maps is None else self._normalized(job.maps)

    def _normalized(self, maps: Tensor) -> Tensor:
        """Min-max normalised maps, in batches of one size: a product's bits depend on it."""
        assert self.config.window_size is not None
        check_finite(maps, f"maps of {self.method.title}")
        are_small = max(maps.shape[1:]) <= SMALL
        size = max(self.batch_size, _SMALL_MAPS) if are_small else self.batch_size
        for batch in fixed_batches(len(maps), size):
            rows = batch.to(maps.device)
            maps[rows] = min_max(maps[rows], self.config.window_size)
        return maps

    def _fuse(self, job: _Job, maps: Tensor, scores: Tensor, keep_patches: bool) -> ClassSaliency:
        span, index, kept, _ = job
        found = scores[kept, index]
        windows = windows_of(span.grids)
        chosen = [windows[i - span.first] for i in kept.tolist()]
        fused = fuse(maps, channel_weights(found, self.config), chosen, span.size, self.config)
        if self.config.normalize:
            fused = rescale(fused)
        if self.config.smooth:
            fused = smooth(fused)
        score = scores[span.first_scale, index].mean().item()
        patches: tuple[PatchSaliency, ...] = ()
        if keep_patches:
            patches = patches_of(span, chosen, self.config.window_size or 0, found, maps)
        return ClassSaliency(index, score, len(kept), fused, patches)


def sess(
    image: Image,
    class_index: int | Sequence[int],
    backbone: Backbone | str = "lite0",
    method: str | BaseMethod | Explain = "gradcam",
    config: SESSConfig | None = None,
) -> Tensor:
    """SESS maps of one image.

    Args:
        image: ``uint8 (H, W, 3)`` RGB array, or tensor (3, H, W) with values 0 to 255.
        class_index: One class or several; several share the forwards.
        backbone: A ``Backbone`` or its name.
        method: Base saliency method, by name or as an object.
        config: Settings of SESS.

    Returns:
        (H, W) for one class, (K, H, W) for several; values in [0, 1].

    Raises:
        SessError: If a name is unknown.
        ValueError: If the image has another shape or a class is out of range.

    Example:
        >>> from skimage.data import chelsea
        >>> map_ = sess(chelsea(), 285, config=SESSConfig(scales=2))
        >>> tuple(map_.shape), map_.max().item()
        ((300, 451), 1.0)
    """
    classes = [class_index] if isinstance(class_index, int) else list(class_index)
    [found] = SESS(backbone, method, config)([image], [classes])
    maps = torch.stack([one.map for one in found])
    return maps[0] if isinstance(class_index, int) else maps

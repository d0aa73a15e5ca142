"""SESS: scaling, sliding, pre-filter, saliency, fusion, smoothing (paper Algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sess_kernels.backbones import Backbone, load_backbone
from sess_kernels.backbones.runtimes import with_runtime
from sess_kernels.checks import check, check_classes, check_finite, check_scores
from sess_kernels.config import SESSConfig
from sess_kernels.explain import Explainer, jobs_of
from sess_kernels.images import Image, to_tensor
from sess_kernels.memory import keep_freed_memory
from sess_kernels.packing import Packing, Span
from sess_kernels.precision import exact_fp32
from sess_kernels.prefilter import any_of, kept_of
from sess_kernels.results import ClassSaliency, PatchScores, Scored
from sess_kernels.saliency import BaseMethod, Explain, base_method
from sess_kernels.scorer import PatchScorer
from sess_kernels.searching import SearchScorer

_Classes = Sequence[Sequence[int] | None]
_DEFAULT_BATCH = {"cpu": 4, "cuda": 128}


class SESS:
    """SESS around a base saliency method and a backbone, for many images at a time.

    Patches of several images fill device batches of one fixed size, the last one padded; a patch's
    bits then do not depend on its neighbours, and a map's not on what it was computed with.

    A call is the whole way from images to maps. ``score_patches`` and ``explain_patches`` are its
    halves, which may run in different processes: the maps have the same bits. What the whole has
    from one forward costs the second half another one of the kept patches.

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
        runtime: What runs forwards that are not differentiated: ``torch``; ``compile``, which is
            ``torch.compile``; or ``openvino``, on CPUs.

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
        runtime: str = "torch",
    ) -> None:
        self.backbone = load_backbone(backbone) if isinstance(backbone, str) else backbone
        self.method = base_method(method, method_options)
        self.config = (config or SESSConfig()).for_input(self.backbone.input_size)
        searched = self.config.search
        check(self.backbone, self.method, precision, batch_size, runtime, search=searched)
        if self.backbone.device.type == "cpu":
            keep_freed_memory()
        default = self.backbone.batch_size or _DEFAULT_BATCH.get(self.backbone.device.type, 4)
        self.batch_size = batch_size or default
        self.backbone = with_runtime(self.backbone, runtime, self.batch_size)
        scorer = SearchScorer if searched else PatchScorer
        settings = self.batch_size, self.method, precision, runtime
        self.score = scorer(self.backbone, self.config, *settings)
        self._explainer = Explainer(self.backbone, self.method, self.config, self.batch_size)

    @property
    def packing(self) -> Packing:
        """How full the device batches were that gave scores or features, since construction.

        What a base method runs by itself is not counted.
        """
        return self.score.packing

    @exact_fp32()
    @torch.no_grad()
    def __call__(
        self,
        images: Sequence[Image],
        class_indices: _Classes,
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
        tensors = self._tensors(images, class_indices)
        found: list[list[ClassSaliency]] = []
        for spans, scored in self._scored(tensors, class_indices, top_k, keep=True):
            scores = scored.by_image(spans)
            kept = [kept_of(one.scores, self.config) for one in scores]
            parts = zip(spans, scores, kept, map(scored.rows_of, spans), strict=True)
            jobs = [jobs_of(*part, maps=scored.maps) for part in parts]
            found += self._explainer(jobs, scored.images, scored.features, keep_patches)
        return found

    @exact_fp32()
    @torch.no_grad()
    def score_patches(
        self, images: Sequence[Image], class_indices: _Classes, top_k: int = 1
    ) -> list[PatchScores]:
        """The first half of a call: the scores of every patch, which the pre-filter goes by.

        Args:
            images: Images of any sizes.
            class_indices: The classes of each image; ``None`` as in a call.
            top_k: Classes to take where none are given.

        Returns:
            The scores of each image.

        Raises:
            ValueError: If an image has another shape, or a class is out of range.
            SessError: If scores are not finite.

        Example:
            >>> from skimage.data import chelsea
            >>> explain = SESS("lite0", config=SESSConfig(scales=2))
            >>> [cat] = explain.score_patches([chelsea()], [[285]])
            >>> cat.classes, tuple(cat.scores.shape)
            ((285,), (1, 6))
        """
        tensors = self._tensors(images, class_indices)
        groups_ = self._scored(tensors, class_indices, top_k, keep=False)
        return [one for spans, scored in groups_ for one in scored.by_image(spans)]

    @exact_fp32()
    @torch.no_grad()
    def explain_patches(
        self, images: Sequence[Image], scores: Sequence[PatchScores], keep_patches: bool = False
    ) -> list[list[ClassSaliency]]:
        """The second half of a call: the maps, from the patches that the scores keep.

        Only these are run again, and only if the method needs their features.

        Args:
            images: The images of ``score_patches``.
            scores: What it returned for each of them, here or in another process with the same
                backbone, method and settings.
            keep_patches: Return the maps of the kept patches too.

        Returns:
            What the call returns, bit for bit.

        Raises:
            ValueError: If scores do not belong to the images, or a class is out of range.
            SessError: If maps are not finite.

        Example:
            >>> from skimage.data import chelsea
            >>> explain = SESS("lite0", config=SESSConfig(scales=2, pre_filter_ratio=0.5))
            >>> scores = explain.score_patches([chelsea()], [[285]])
            >>> [[cat]] = explain.explain_patches([chelsea()], scores)
            >>> torch.equal(cat.map, explain([chelsea()], [[285]])[0][0].map)
            True
        """
        tensors = self._tensors(images, [one.classes for one in scores])
        check_scores(scores, tensors, self.config)
        kept = [kept_of(one.scores, self.config) for one in scores]
        wanted = [any_of(left, one.scores.shape[1]) for left, one in zip(kept, scores, strict=True)]
        found: list[list[ClassSaliency]] = []
        for spans in self.score.groups(tensors, [int(chosen.sum()) for chosen in wanted]):
            group = slice(len(found), len(found) + len(spans))
            loaded = self.score.load(tensors[group], spans, wanted[group])
            found_in = zip(spans, wanted[group], strict=True)
            rows = (span.first - 1 + one.cumsum(0) for span, one in found_in)
            parts = zip(spans, scores[group], kept[group], rows, strict=True)
            jobs = [jobs_of(*part) for part in parts]
            found += self._explainer(jobs, *loaded, keep_patches)
        return found

    def _tensors(self, images: Sequence[Image], classes: _Classes) -> list[Tensor]:
        tensors = [to_tensor(image) for image in images]
        check_classes(len(tensors), classes, self.backbone)
        return tensors

    def _scored(
        self, tensors: Sequence[Tensor], classes: _Classes, top_k: int, *, keep: bool
    ) -> Iterator[tuple[list[Span], Scored]]:
        done = 0
        top_k = min(top_k, self.backbone.n_classes - len(self.backbone.without_outputs))
        for spans in self.score.groups(tensors, keep=keep):
            group = slice(done, done + len(spans))
            done = group.stop
            scored = self.score(tensors[group], spans, classes[group], top_k, keep=keep)
            check_finite(scored.scores, f"scores of {self.backbone.name}")
            yield spans, scored

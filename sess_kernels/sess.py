"""SESS: scaling, sliding, pre-filter, saliency, fusion, smoothing (paper Algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sess_kernels.backbones import Backbone, load_backbone
from sess_kernels.config import SESSConfig
from sess_kernels.fuse import fuse, min_max, rescale, windows_of
from sess_kernels.packing import PatchScorer, Span, groups
from sess_kernels.precision import exact_fp32
from sess_kernels.prefilter import pre_filter, top_classes
from sess_kernels.saliency import base_method
from sess_kernels.smooth import smooth

Image = NDArray[np.uint8] | Tensor
"""``uint8 (H, W, 3)`` RGB array, or tensor ``(3, H, W)`` with values 0 to 255."""

_FEATURE_BYTES = 256 * 2**20  # features of the patches that wait for the pre-filter
_DEFAULT_BATCH = {"cpu": 4, "cuda": 128}


@dataclass(frozen=True)
class ClassSaliency:
    """The SESS map of one class in one image.

    Attributes:
        class_index: Index of the class.
        score: Mean probability of the class over the windows of the first scale.
        n_kept: Patches left after the pre-filter.
        map: (H, W) in [0, 1] at the size of the image.
    """

    class_index: int
    score: float
    n_kept: int
    map: Tensor


class SESS:
    """SESS around a base saliency method and a backbone, for many images at a time.

    Patches of several images fill device batches of one fixed size, the last one padded; a patch's
    bits then do not depend on its neighbours, and a map's not on what it was computed with.

    Args:
        backbone: A ``Backbone`` or its name.
        method: Name of the base saliency method.
        config: Settings of SESS.
        batch_size: Patches of a device batch; 4 on CPU and 128 on CUDA if not given.

    Raises:
        SessError: If a name is unknown.

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
        method: str = "gradcam",
        config: SESSConfig | None = None,
        batch_size: int | None = None,
    ) -> None:
        self.backbone = load_backbone(backbone) if isinstance(backbone, str) else backbone
        self.method = base_method(method)
        self.config = (config or SESSConfig()).for_input(self.backbone.input_size)
        assert self.config.window_size is not None
        self.window: int = self.config.window_size
        self.batch_size = batch_size or _DEFAULT_BATCH.get(self.backbone.device.type, 4)
        self.score = PatchScorer(self.backbone, self.window, self.batch_size)

    @exact_fp32()
    @torch.no_grad()
    def __call__(
        self,
        images: Sequence[Image],
        class_indices: Sequence[Sequence[int] | None],
        top_k: int = 1,
    ) -> list[list[ClassSaliency]]:
        """Maps of every class of every image.

        Args:
            images: Images of any sizes.
            class_indices: The classes of each image; ``None`` takes the ``top_k`` classes by mean
                probability over the windows of the first scale.
            top_k: Classes to take where none are given.

        Returns:
            For each image one ``ClassSaliency`` a class, in the order of the classes.

        Raises:
            ValueError: If an image has another shape, or a class is out of range.
        """
        tensors = [_to_tensor(image) for image in images]
        for index in {index for given in class_indices for index in given or ()}:
            if not 0 <= index < self.backbone.n_classes:
                raise ValueError(
                    f"Expected classes of 0 to {self.backbone.n_classes - 1} but got {index}"
                )
        found: list[list[ClassSaliency]] = []
        max_patches = _FEATURE_BYTES // (4 * math.prod(self.score.feature_shape))
        for group in groups(tensors, self.config, self.backbone.input_size, max_patches):
            classes = class_indices[len(found) : len(found) + len(group)]
            found += self._run_group(
                tensors[len(found) : len(found) + len(group)], group, classes, top_k
            )
        return found

    def _run_group(
        self,
        images: Sequence[Tensor],
        spans: Sequence[Span],
        class_indices: Sequence[Sequence[int] | None],
        top_k: int,
    ) -> list[list[ClassSaliency]]:
        features, scores = self.score(images, spans)
        jobs = [
            (span, index, _kept(span, scores[:, index], self.config))
            for span, given in zip(spans, class_indices, strict=True)
            for index in _classes(span, scores, given, top_k)
        ]
        if not jobs:
            return [[] for _ in spans]
        patches = torch.cat([kept for _, _, kept in jobs])
        classes = torch.cat([torch.full((len(kept),), index) for _, index, kept in jobs])
        maps = self._saliency(features, patches, classes)
        found: dict[int, list[ClassSaliency]] = {span.first: [] for span in spans}
        done = 0
        for span, index, kept in jobs:
            part = maps[done : done + len(kept)]
            found[span.first].append(self._fuse(span, index, kept, part, scores))
            done += len(kept)
        return list(found.values())

    def _saliency(self, features: Tensor, patches: Tensor, classes: Tensor) -> Tensor:
        """Normalised maps (M, h, w) of M pairs of a patch and a class."""
        total, size = len(patches), self.batch_size
        # the last batch is padded by repeating the last pair, to be of the fixed size
        rows = torch.arange(-(-total // size) * size).clamp_max(total - 1)
        patches, classes = patches[rows].to(features.device), classes[rows].to(features.device)
        maps = [
            min_max(
                self.method(self.backbone, features[patches[i : i + size]], classes[i : i + size]),
                self.window,
            )
            for i in range(0, len(rows), size)
        ]
        return torch.cat(maps)[:total]

    def _fuse(
        self, span: Span, index: int, kept: Tensor, maps: Tensor, scores: Tensor
    ) -> ClassSaliency:
        weights = scores[kept, index]
        if self.config.relative_weights:  # the best patch is always kept
            weights = weights / weights.max().clamp_min(torch.finfo(weights.dtype).tiny)
        windows = windows_of(span.grids)
        chosen = [windows[i - span.first] for i in kept.tolist()]
        fused = fuse(maps, weights, chosen, span.size, self.config)
        if self.config.normalize:
            fused = rescale(fused)
        if self.config.smooth:
            fused = smooth(fused)
        score = _first_scale(span, scores)[:, index].mean().item()
        return ClassSaliency(index, score, len(kept), fused)


def sess(
    image: Image,
    class_index: int | Sequence[int],
    backbone: Backbone | str = "lite0",
    method: str = "gradcam",
    config: SESSConfig | None = None,
) -> Tensor:
    """SESS maps of one image.

    Args:
        image: ``uint8 (H, W, 3)`` RGB array, or tensor (3, H, W) with values 0 to 255.
        class_index: One class or several; several share the forwards.
        backbone: A ``Backbone`` or its name.
        method: Name of the base saliency method.
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


def _classes(span: Span, scores: Tensor, given: Sequence[int] | None, top_k: int) -> Sequence[int]:
    return given if given is not None else top_classes(_first_scale(span, scores), top_k)


def _kept(span: Span, scores: Tensor, config: SESSConfig) -> Tensor:
    """Patches of one image left by the pre-filter, as indices of the group."""
    return span.first + pre_filter(scores[span.first : span.stop], config)


def _first_scale(span: Span, scores: Tensor) -> Tensor:
    """Scores of the first scale's windows, which cover the image."""
    return scores[span.first : span.first + len(span.grids[0])]


def _to_tensor(image: Image) -> Tensor:
    if isinstance(image, Tensor):
        if image.ndim != 3 or image.shape[0] != 3:
            raise ValueError(f"Expected a tensor (3, H, W) but got {tuple(image.shape)}")
        return image
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"Expected uint8 (H, W, 3) but got {image.dtype} {image.shape}")
    return torch.tensor(image).permute(2, 0, 1)

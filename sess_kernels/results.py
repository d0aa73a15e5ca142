"""What SESS finds: scores of patches, the map of a class, on request those of its patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sess_kernels.packing import Span
from sess_kernels.windows import Window


@dataclass(frozen=True)
class PatchScores:
    """What the pre-filter must know of one image; small, to be sent to another process.

    Attributes:
        classes: The K classes of the image: those that were given, or the best of it.
        scores: ``float32 (K, N)`` on the CPU: the probability of each class in each of the N
            patches; -1 in a patch that cannot be kept.
    """

    classes: tuple[int, ...]
    scores: Tensor


class Scored(NamedTuple):
    """What is known of the patches of a group; valid until the next group.

    Attributes:
        images: (P, 3, S, S) normalised patches on the device; no entries unless they are kept.
        features: (P, ...) output of the target layer there; no entries unless they are kept.
        scores: (P, classes) probabilities on the CPU; -1 in a patch that cannot be kept.
        classes: The classes of each image.
        maps: (P, h, w) map of each patch for the first class of its image, if the method gave it
            with the scores.
        rows: ``int64 (P,)`` where each patch lies in ``images`` and ``features``; in order if not
            given.
    """

    images: Tensor
    features: Tensor
    scores: Tensor
    classes: list[Sequence[int]]
    maps: Tensor | None
    rows: Tensor | None = None

    def rows_of(self, span: Span) -> Tensor:
        """Where the patches (N,) of an image lie in ``images`` and ``features``."""
        if self.rows is None:
            return torch.arange(span.first, span.stop)
        return self.rows[span.first : span.stop]

    def by_image(self, spans: Sequence[Span]) -> list[PatchScores]:
        """The scores of the classes of each image."""
        found = []
        for span, classes in zip(spans, self.classes, strict=True):
            scores = self.scores[span.first : span.stop, list(classes)]
            found.append(PatchScores(tuple(classes), scores.T.contiguous()))
        return found


@dataclass(frozen=True)
class PatchSaliency:
    """One kept patch of a map, as in figure 11 of the paper.

    Attributes:
        scale: Number of its scale, from 1.
        scaled_size: Height and width of the image at that scale in pixels.
        window: Its window there in pixels, ``xyxy``.
        box: The same window in pixels of the image, ``xyxy``.
        score: Probability of the class in the patch.
        map: (h, w) map of the base method at the size that the method gives, normalised so that
            it spans 0 to 1 once it is enlarged to the window.
    """

    scale: int
    scaled_size: tuple[int, int]
    window: tuple[int, int, int, int]
    box: tuple[float, float, float, float]
    score: float
    map: Tensor


@dataclass(frozen=True)
class ClassSaliency:
    """The SESS map of one class in one image.

    Attributes:
        class_index: Index of the class.
        score: Mean probability of the class over the windows of the first scale.
        n_kept: Patches left after the pre-filter.
        map: (H, W) in [0, 1] at the size of the image.
        patches: The kept patches if they were asked for, best score first.
    """

    class_index: int
    score: float
    n_kept: int
    map: Tensor
    patches: tuple[PatchSaliency, ...] = ()


def patches_of(
    span: Span, windows: Sequence[Window], side: int, scores: Tensor, maps: Tensor
) -> tuple[PatchSaliency, ...]:
    """The kept patches of one map, best score first.

    Args:
        span: The image.
        windows: The N windows of the patches.
        side: Side of the windows in pixels.
        scores: (N,) score of the class in each patch.
        maps: (N, h, w), min-max normalised.
    """
    found = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        grid, top, left = windows[i]
        across, down = span.size[1] / grid.width, span.size[0] / grid.height
        window = (left, top, left + side, top + side)
        box = (left * across, top * down, window[2] * across, window[3] * down)
        scaled, scale = (grid.height, grid.width), span.grids.index(grid) + 1
        map_ = maps[i].cpu().clone()  # off the device, and not the memory of all of them
        found.append(PatchSaliency(scale, scaled, window, box, scores[i].item(), map_))
    return tuple(found)

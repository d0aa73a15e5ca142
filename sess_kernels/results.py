"""What SESS finds: the map of a class, and on request those of its patches."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


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

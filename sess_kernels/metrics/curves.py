"""Frames of insertion and deletion: an image on the way to another, the most salient pixels first.

Frame k has the first ``k * step`` pixels, in the order of saliency, from the image it leads to, and
all others from the image it began as (Petsiuk et al., BMVC 2018). Insertion leads from a start that
says little to the image, deletion from the image to a baseline.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sess_kernels.backbones import Backbone
from sess_kernels.errors import ConfigError, SessError, unknown
from sess_kernels.fetch import sent
from sess_kernels.images import Image, to_tensor

INSERTION, DELETION = 0, 1
"""Rows of the curves."""


@dataclass(frozen=True, kw_only=True)
class CurveSettings:
    """Settings of insertion and deletion; the defaults are the paper's, which are Group-CAM's.

    Attributes:
        share: Share of the pixels that a step moves; 3.6 % in the paper (section 4.1).
        start: What insertion begins with, one of ``BASELINES``.
        baseline: What deletion leaves in place of pixels, likewise.
        blur: Side in pixels, odd, and standard deviation of the Gaussian of ``blur``.

    Raises:
        ConfigError: One message for all values that are out of range.

    Example:
        >>> CurveSettings(share=0.1).blur
        (51, 50.0)
        >>> CurveSettings(share=0, baseline="gray")
        Traceback (most recent call last):
        ...
        sess_kernels.errors.ConfigError: share must be above 0 and at most 1 but got 0; unknown \
baseline 'gray'; known: zero, mean, black, blur
    """

    share: float = 0.036
    start: str = "blur"
    baseline: str = "zero"
    blur: tuple[int, float] = (51, 50.0)

    def __post_init__(self) -> None:
        if found := self.faults():
            raise ConfigError(found)

    def faults(self) -> list[str]:
        """One sentence for every value that is out of range."""
        found = []
        if not (_is_number(self.share) and 0 < self.share <= 1):
            found.append(f"share must be above 0 and at most 1 but got {self.share!r}")
        side, sigma = self.blur
        if not (isinstance(side, int) and side > 0 and side % 2):
            found.append(f"the side of the blur must be an odd number of pixels but got {side!r}")
        if not (_is_number(sigma) and sigma > 0):
            found.append(f"the deviation of the blur must be above 0 but got {sigma!r}")
        chosen = [("start", self.start), ("baseline", self.baseline)]
        return found + [
            unknown(what, str(got), BASELINES) for what, got in chosen if got not in BASELINES
        ]

    def moved(self, n_pixels: int) -> list[int]:
        """How many pixels have moved in each frame: none first, all last, in a step of its own.

        Example:
            >>> CurveSettings(share=0.4).moved(10)
            [0, 4, 8, 10]
        """
        step = max(1, round(self.share * n_pixels))
        return [*range(0, n_pixels, step), n_pixels]


class MapQuery(NamedTuple):
    """A map to judge by what the classifier says of its class.

    Attributes:
        image: The image (H, W, 3) or (3, H, W). Maps that are given the same object share its work.
        saliency: Map (h, w), of the image or smaller; only the order of its values counts.
        class_index: The class whose score is followed.
    """

    image: Image
    saliency: Tensor
    class_index: int


class Place(NamedTuple):
    """Where a score belongs: the number of the query, the row of its curves, the frame."""

    query: int
    curve: int
    frame: int


class Frame(NamedTuple):
    """One image for the classifier, not made yet.

    Attributes:
        before: (3, S, S), what it began as.
        after: (3, S, S), what it leads to.
        ranks: int32 (S, S), the place of each pixel in the order of saliency.
        many: How many pixels have moved.
        places: Where its score belongs; ends of curves are those of every map of an image.
    """

    before: Tensor
    after: Tensor
    ranks: Tensor
    many: int
    places: tuple[Place, ...]

    def draw(self) -> Tensor:
        """The image (3, S, S), normalised."""
        return torch.where(self.ranks < self.many, self.after, self.before)


def frames(
    backbone: Backbone, queries: Sequence[MapQuery], settings: CurveSettings
) -> Iterator[Frame]:
    """The frames of both curves of every query, image by image.

    Args:
        backbone: Gives device, normalisation and input size.
        queries: The maps.
        settings: Settings.

    Raises:
        SessError: If the blur is too wide for the input of the backbone.
        ValueError: If an image has another shape or type.
    """
    of_image: dict[int, list[int]] = {}
    for number, query in enumerate(queries):
        of_image.setdefault(id(query.image), []).append(number)
    for numbers in of_image.values():
        yield from _of_image(backbone, queries, numbers, settings)


def _of_image(
    backbone: Backbone, queries: Sequence[MapQuery], numbers: Sequence[int], settings: CurveSettings
) -> Iterator[Frame]:
    side = backbone.input_size
    image = sent(to_tensor(queries[numbers[0]].image), backbone.device)
    whole = resized(backbone.normalize(image)[None], side)[0]
    start, blank = (
        BASELINES[name](whole, backbone, settings) for name in (settings.start, settings.baseline)
    )
    moved = settings.moved(side * side)
    last, rising = len(moved) - 1, torch.zeros(side, side, dtype=torch.int32, device=whole.device)
    ends = {
        "start": (start, [(INSERTION, 0)]),
        "whole": (whole, [(INSERTION, last), (DELETION, 0)]),
        "blank": (blank, [(DELETION, last)]),
    }
    for end, at in ends.values():
        places = tuple(Place(number, *one) for number in numbers for one in at)
        yield Frame(end, end, rising, 0, places)
    for number in numbers:
        ranks = ranks_of(queries[number].saliency.to(whole), side)
        for curve, before, after in ((INSERTION, start, whole), (DELETION, whole, blank)):
            for frame, many in enumerate(moved[1:-1], 1):
                yield Frame(before, after, ranks, many, (Place(number, curve, frame),))


def ranks_of(saliency: Tensor, side: int) -> Tensor:
    """The place of each pixel in the order of saliency: most salient first, equal ones row by row.

    Args:
        saliency: Map (h, w).
        side: Side S to which it is brought.

    Returns:
        int32 (S, S), 0 for the most salient.

    Example:
        >>> ranks_of(torch.tensor([[0.0, 1.0], [1.0, 0.5]]), 2).tolist()
        [[3, 0], [1, 2]]
    """
    values = resized(saliency[None, None], side).flatten()
    order = values.argsort(descending=True, stable=True)
    ranks = torch.empty_like(order, dtype=torch.int32)
    ranks[order] = torch.arange(len(order), dtype=torch.int32, device=order.device)
    return ranks.view(side, side)


def resized(planes: Tensor, side: int) -> Tensor:
    """Planes (N, C, h, w) squeezed to (N, C, side, side)."""
    if tuple(planes.shape[-2:]) == (side, side):
        return planes
    return F.interpolate(planes, (side, side), mode="bilinear", align_corners=False, antialias=True)


def _zero(whole: Tensor, _: Backbone, __: CurveSettings) -> Tensor:
    return torch.zeros_like(whole)


def _mean(whole: Tensor, _: Backbone, __: CurveSettings) -> Tensor:
    return whole.mean((1, 2), keepdim=True).expand_as(whole)


def _black(whole: Tensor, backbone: Backbone, _: CurveSettings) -> Tensor:
    return backbone.normalize(torch.zeros_like(whole))


def _blurred(whole: Tensor, backbone: Backbone, settings: CurveSettings) -> Tensor:
    """A Gaussian blur of (3, S, S), one axis at a time, reflected at the edges."""
    side, sigma = settings.blur
    if side // 2 >= whole.shape[-1]:
        raise SessError(
            f"a blur of {side} pixels is too wide for the input of {backbone.name}, "
            f"{whole.shape[-1]} pixels; take one of at most {2 * whole.shape[-1] - 1}"
        )
    steps = torch.arange(side, device=whole.device, dtype=whole.dtype) - side // 2
    weights = (-(steps**2) / (2 * sigma**2)).exp()
    weights = (weights / weights.sum()).expand(3, 1, 1, side)
    padded = F.pad(whole[None], [side // 2] * 4, mode="reflect")
    rows = F.conv2d(padded, weights, groups=3)
    return F.conv2d(rows, weights.mT, groups=3)[0]


BASELINES: dict[str, Callable[[Tensor, Backbone, CurveSettings], Tensor]] = {
    "zero": _zero,
    "mean": _mean,
    "black": _black,
    "blur": _blurred,
}
"""Images (3, S, S) that say little, by name: ``zero`` after normalisation, which is the mean colour
of what the backbone was trained on; the ``mean`` colour of the image; ``black``; its ``blur``."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)

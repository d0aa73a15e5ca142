"""What turns saliency maps into boxes and masks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sess_kernels.errors import ConfigError, unknown
from sess_kernels.pseudo.refinements import REFINEMENTS

THRESHOLD_MODES = ("relative", "absolute", "otsu")
COMPONENTS = ("all", "largest")


@dataclass(frozen=True, kw_only=True)
class BoxConfig:
    """Settings of pseudo-boxes.

    Attributes:
        thresholds: What the value of a marked pixel exceeds; each gives boxes of its own.
        threshold_mode: ``relative`` thresholds are shares of the map's largest value, ``absolute``
            ones its values; ``otsu`` finds one for each map, from a histogram of 256 bins.
        components: Boxes around ``all`` connected components or the ``largest`` one.
        min_area: Least area of a component, as a share of the image.
        nms_iou: A box that meets a better one more than this is left out; 1 keeps all.

    Raises:
        ConfigError: One message for all values that are out of range.

    Example:
        >>> BoxConfig(thresholds=(), components="some")
        Traceback (most recent call last):
        ...
        sess_kernels.errors.ConfigError: thresholds must be numbers in [0, 1), at least one, but \
got (); unknown components 'some'; known: all, largest
    """

    thresholds: tuple[float, ...] = (0.2, 0.3, 0.4)
    threshold_mode: str = "relative"
    components: str = "all"
    min_area: float = 0.01
    nms_iou: float = 0.5

    def __post_init__(self) -> None:
        _raise(
            _in_range("thresholds", self.thresholds, "numbers in [0, 1), at least one,", 1),
            _one_of("threshold_mode", self.threshold_mode, THRESHOLD_MODES),
            _one_of("components", self.components, COMPONENTS),
            _in_range("min_area", (self.min_area,), "a number in [0, 1)", 1),
            _in_range("nms_iou", (self.nms_iou,), "a number in [0, 1]"),
        )


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """Settings of pseudo-masks.

    Attributes:
        background: A pixel is background where no class's value exceeds this.
        ignore: Two values: a pixel whose largest value lies between them is 255, ignored.
        normalize: Divide each map by its largest value, before the refinement.
        refine: Refinement by the colours of the photograph: ``none``, ``pamr`` (pixel-adaptive) or
            ``crf`` (dense CRF, an extra).
        refine_side: Longer side in pixels at which maps are refined, at most.
        iterations: Of the refinement.
        dilations: Distances in pixels, at that size, of the neighbours that ``pamr`` looks at.

    Raises:
        ConfigError: One message for all values that are out of range.

    Example:
        >>> MaskConfig(ignore=(0.4, 0.2), refine="prm")
        Traceback (most recent call last):
        ...
        sess_kernels.errors.ConfigError: ignore must be two numbers in [0, 1], the lower one first\
, but got (0.4, 0.2); unknown refine 'prm'; did you mean 'pamr'? known: none, pamr, crf
    """

    background: float = 0.25
    ignore: tuple[float, float] | None = None
    normalize: bool = True
    refine: str = "none"
    refine_side: int = 256
    iterations: int = 30
    dilations: tuple[int, ...] = (1, 2, 4, 8, 12, 24)

    def __post_init__(self) -> None:
        band = "two numbers in [0, 1], the lower one first,"
        ignore = self.ignore
        in_order = ignore is None or (len(ignore) == 2 and ignore[0] <= ignore[1])
        _raise(
            _in_range("background", (self.background,), "a number in [0, 1)", 1),
            _in_range("ignore", ignore or (0.0,), band),
            "" if in_order else f"ignore must be {band} but got {ignore!r}",
            _one_of("refine", self.refine, ("none", *REFINEMENTS)),
            self._crf_fault(),
            _counts("refine_side", (self.refine_side,)),
            _counts("iterations", (self.iterations,)),
            _counts("dilations", self.dilations),
        )

    def _crf_fault(self) -> str:
        if self.refine == "crf" and self.background == 0:
            return "refine crf needs a background above 0, which classes are held against"
        return ""


def _raise(*faults: str) -> None:
    found = [fault for fault in faults if fault]
    if found:
        raise ConfigError(found)


def _in_range(name: str, values: tuple[Any, ...], said: str, below: float = math.inf) -> str:
    """A fault unless all are numbers from 0 to 1, and below a limit."""
    if values and all(_is_number(one) and 0 <= one <= 1 and one < below for one in values):
        return ""
    got = values if len(values) != 1 else values[0]
    return f"{name} must be {said} but got {got!r}"


def _counts(name: str, values: tuple[Any, ...]) -> str:
    if values and all(type(one) is int and one >= 1 for one in values):
        return ""
    got = values if len(values) != 1 else values[0]
    return f"{name} must be whole numbers of at least 1 but got {got!r}"


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> str:
    return "" if value in known else unknown(name, str(value), known)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

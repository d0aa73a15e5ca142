"""What defines a SESS map, apart from the backbone and the base saliency method."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from sess_kernels.errors import ConfigError, unknown

FUSIONS = ("mean", "max")
CHANNEL_WEIGHTS = ("score", "relative", "none")
_FLOAT32_MAX = 3.4028234663852886e38


@dataclass(frozen=True, kw_only=True)
class SESSConfig:
    """Settings of SESS with the paper's defaults (section 3, Algorithm 1).

    Attributes:
        scales: Number of scales, n in the paper; scale i has its smaller side at
            ``base_size + scale_increment * (i - 1)`` pixels. 0 is the base method alone: the whole
            image, squeezed into one window.
        base_size: Smaller side of the first scale in pixels; the window size if not given.
        scale_increment: Pixels between two scales, 64 in the paper.
        window_size: Side of the sliding window in pixels; the backbone's input size if not given.
        step_size: Step of the sliding window in pixels; the window size if not given, so that
            neighbours do not overlap.
        pre_filter_ratio: Share of the patches to drop, r in the paper: ``N - int(N * r)`` are kept.
        theta: Weighted saliency at or below this value is left out of the average, equation (2).
        smooth: Smooth the fused map with a Gaussian of 11x11 pixels, sigma 5.
        normalize: Min-max normalise the fused map; the published program does not.
        channel_weights: What a patch's map is multiplied with: ``score``, equation (1);
            ``relative``, the score divided by the largest one of the image, as the published
            program does; ``none``.
        fusion: ``mean`` of the patches above theta, equation (2), or their ``max``.
        search: Approximate: score few of the patches, those that a search finds promising, where
            the pre-filter drops most of them.
        search_recall: Share of the patches to keep that the search aims to find.

    Raises:
        ConfigError: One message for all values that are out of range.

    Example:
        >>> SESSConfig(scales=10, pre_filter_ratio=0.9).kept(81)
        9
    """

    scales: int = 12
    base_size: int | None = None
    scale_increment: int = 64
    window_size: int | None = None
    step_size: int | None = None
    pre_filter_ratio: float = 0.0
    theta: float = 0.0
    smooth: bool = False
    normalize: bool = True
    channel_weights: str = "score"
    fusion: str = "mean"
    search: bool = False
    search_recall: float = 0.95

    def __post_init__(self) -> None:
        faults = self.faults()
        if faults:
            raise ConfigError(faults)

    def faults(self) -> list[str]:
        """One sentence for every value that is out of range."""
        found = [
            f"{name} must be a whole number of at least {least} but got {value!r}"
            for name, value in self._counts().items()
            if not _is_whole(value, least := 0 if name == "scales" else 1)
        ]
        if not found:
            found += self._size_faults()
        if not (_is_number(self.pre_filter_ratio) and 0 <= self.pre_filter_ratio < 1):
            found.append(
                f"pre_filter_ratio must be in [0, 1) but got {self.pre_filter_ratio!r}; "
                "0.9 drops nine patches of ten"
            )
        if not (_is_number(self.theta) and 0 <= self.theta <= _FLOAT32_MAX):
            found.append(
                f"theta must be a finite number of at least 0 but got {self.theta!r}; "
                "maps are float32, up to 3.4e38"
            )
        found += self._search_faults()
        chosen: list[tuple[str, Any, tuple[str, ...]]] = [("fusion", self.fusion, FUSIONS)]
        chosen += [("channel_weights", self.channel_weights, CHANNEL_WEIGHTS)]
        return found + [
            unknown(what, str(got), known) for what, got, known in chosen if got not in known
        ]

    def _search_faults(self) -> list[str]:
        recall, found = self.search_recall, []
        if not (_is_number(recall) and 0 < recall < 1):
            found.append(
                f"search_recall must be in (0, 1) but got {recall!r}; 1 would be no search"
            )
        if self.search not in (True, False):
            found.append(f"search must be true or false but got {self.search!r}")
        elif self.search and self.pre_filter_ratio == 0:
            found.append(
                "search looks for the patches that the pre-filter keeps, but pre_filter_ratio 0 "
                "keeps all; give one, 0.9 say, or no search"
            )
        return found

    def _size_faults(self) -> list[str]:
        found, window = [], self.window_size
        if window and (self.step_size or 0) > window:
            found.append(
                f"step_size must not exceed window_size ({window}) but got {self.step_size}; "
                "pixels between two windows would be lost"
            )
        if window and (self.base_size or window) < window:
            found.append(
                f"base_size must be at least window_size ({window}) but got {self.base_size}; "
                "the window would not fit into the first scale"
            )
        return found

    def _counts(self) -> dict[str, Any]:
        names = ("scales", "base_size", "scale_increment", "window_size", "step_size")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def kept(self, n_patches: int) -> int:
        """Patches left of ``n_patches`` after the pre-filter; at least one, as r < 1."""
        return n_patches - int(n_patches * self.pre_filter_ratio)

    def for_input(self, input_size: int) -> SESSConfig:
        """The same configuration with window, step and base fixed for a backbone's input size.

        Raises:
            ConfigError: If the base or the step does not go with that window.

        Example:
            >>> resolved = SESSConfig().for_input(224)
            >>> resolved.window_size, resolved.step_size, resolved.base_size
            (224, 224, 224)
        """
        window = self.window_size or input_size
        step, base = self.step_size or window, self.base_size or window
        return replace(self, window_size=window, step_size=step, base_size=base)

    @classmethod
    def published(cls, **changes: Any) -> SESSConfig:
        """The semantics of the authors' published program where it differs from the paper.

        Example:
            >>> SESSConfig.published(scales=10).normalize
            False
        """
        published: dict[str, Any] = {"normalize": False, "channel_weights": "relative"}
        return cls(**(published | changes))


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: object) -> bool:
    # a whole number may be too large for math.isfinite
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))

"""What defines a SESS map, apart from the backbone and the base saliency method."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from sess_kernels.errors import ConfigError

SCALE_INCREMENT = 64
"""Pixels between two scales: the smaller side is resized to base + 64 (i - 1), paper section 3."""


@dataclass(frozen=True, kw_only=True)
class SESSConfig:
    """Settings of SESS with the paper's defaults (section 3, Algorithm 1).

    Attributes:
        scales: Number of scales, n in the paper; scale i has its smaller side at
            ``window_size + 64 * (i - 1)`` pixels.
        window_size: Side of the sliding window in pixels; the backbone's input size if not given.
        step_size: Step of the sliding window in pixels; the window size if not given, so that
            neighbours do not overlap.
        pre_filter_ratio: Share of the patches to drop, r in the paper: ``N - int(N * r)`` are kept.
        theta: Weighted saliency at or below this value is left out of the average, equation (2).
        smooth: Smooth the fused map with a Gaussian of 11x11 pixels, sigma 5.
        normalize: Min-max normalise the fused map; the published program does not.
        relative_weights: Divide the channel-wise weights by the largest score of the image, as the
            published program does; the paper's equation (1) takes the scores as they are.

    Raises:
        ConfigError: One message for all values that are out of range.

    Example:
        >>> SESSConfig(scales=10, pre_filter_ratio=0.9).kept(81)
        9
    """

    scales: int = 12
    window_size: int | None = None
    step_size: int | None = None
    pre_filter_ratio: float = 0.0
    theta: float = 0.0
    smooth: bool = False
    normalize: bool = True
    relative_weights: bool = False

    def __post_init__(self) -> None:
        faults = self.faults()
        if faults:
            raise ConfigError(faults)

    def faults(self) -> list[str]:
        """One sentence for every value that is out of range."""
        found = [
            f"{name} must be a whole number of at least 1 but got {value!r}"
            for name, value in self._counts().items()
            if isinstance(value, bool) or not isinstance(value, int) or value < 1
        ]
        if not found and (self.step_size or 0) > (self.window_size or math.inf):
            found.append(
                f"step_size must not exceed window_size ({self.window_size}) but got "
                f"{self.step_size}; pixels between two windows would be lost"
            )
        if not (_is_number(self.pre_filter_ratio) and 0 <= self.pre_filter_ratio < 1):
            found.append(
                f"pre_filter_ratio must be in [0, 1) but got {self.pre_filter_ratio!r}; "
                "0.9 drops nine patches of ten"
            )
        if not (_is_number(self.theta) and self.theta >= 0):
            found.append(f"theta must be a finite number of at least 0 but got {self.theta!r}")
        return found

    def _counts(self) -> dict[str, Any]:
        optional = {"window_size": self.window_size, "step_size": self.step_size}
        return {"scales": self.scales} | {k: v for k, v in optional.items() if v is not None}

    def kept(self, n_patches: int) -> int:
        """Patches left of ``n_patches`` after the pre-filter; at least one, as r < 1."""
        return n_patches - int(n_patches * self.pre_filter_ratio)

    def for_input(self, input_size: int) -> SESSConfig:
        """The same configuration with window and step fixed for a backbone's input size.

        Example:
            >>> resolved = SESSConfig().for_input(224)
            >>> resolved.window_size, resolved.step_size
            (224, 224)
        """
        window = self.window_size or input_size
        return replace(self, window_size=window, step_size=self.step_size or window)

    @classmethod
    def published(cls, **changes: Any) -> SESSConfig:
        """The semantics of the authors' published program where it differs from the paper.

        Example:
            >>> SESSConfig.published(scales=10).normalize
            False
        """
        return cls(**({"normalize": False, "relative_weights": True} | changes))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)

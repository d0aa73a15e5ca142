"""What an evaluation found."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from sess_kernels.metrics import Interval


@dataclass(frozen=True)
class Evaluation:
    """The figures of one kind of maps.

    Attributes:
        name: The variant; empty for a run's maps as they are stored.
        place: Folder with what was found of every map.
        images: Images with maps that were judged.
        maps: Maps of them.
        failed: Images that could not be judged.
        judged: Maps that each metric judged; of images for pseudo-masks.
        figures: Figures with 95 % intervals: fractions, but for ``seconds`` of ``time``.
        classes: Figures of each class by its name.
        settings: What they depend on.
    """

    name: str
    place: str
    images: int
    maps: int
    failed: int
    judged: dict[str, int]
    figures: dict[str, Interval]
    classes: dict[str, dict[str, float]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: no NaN."""
        return {
            "name": self.name,
            "place": self.place,
            "images": self.images,
            "maps": self.maps,
            "failed": self.failed,
            "judged": self.judged,
            "figures": {name: interval_dict(one) for name, one in self.figures.items()},
            "classes": {
                name: {key: value for key, value in of_class.items() if not math.isnan(value)}
                for name, of_class in self.classes.items()
            },
            "settings": self.settings,
        }

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Evaluation:
        """What ``to_dict`` gave."""
        figures = {name: _interval(one) for name, one in stored["figures"].items()}
        return cls(**(stored | {"figures": figures}))


def interval_dict(interval: Interval) -> dict[str, float | None]:
    """A figure as JSON has it."""
    return {
        name: None if math.isnan(value) else value for name, value in interval._asdict().items()
    }


def _interval(stored: dict[str, float | None]) -> Interval:
    return Interval(**{k: math.nan if value is None else value for k, value in stored.items()})

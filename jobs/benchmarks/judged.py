"""How good single maps are, and how two rules for the same images differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jobs.benchmarks.measure import Row
from sess_kernels import Backbone
from sess_kernels.metrics import (
    MapQuery,
    best_ious,
    bootstrap,
    insertion_deletion,
    mass_inside,
    max_box_accuracy,
    pointing_hit,
)

Figure = Callable[[Tensor], float]
"""Of chosen maps, ``int64 (n,)`` their numbers."""


@dataclass(frozen=True)
class Judged:
    """How good one map is.

    Attributes:
        figures: Pointing game, mass inside the boxes, insertion, deletion and overall.
        ious: See ``metrics.best_ious``.
    """

    figures: dict[str, float]
    ious: Tensor


def judged(
    backbone: Backbone, image: np.ndarray, saliency: Tensor, class_index: int, boxes: Tensor
) -> Judged:
    """Judge the map of one class of an image by its boxes (M, 4) and by what the backbone says."""
    [area] = insertion_deletion(backbone, [MapQuery(image, saliency, class_index)])
    figures = {
        "pointing_game": float(pointing_hit(saliency, boxes)),
        "mass_inside": mass_inside(saliency, boxes),
        "insertion": area.insertion,
        "deletion": area.deletion,
        "overall": area.overall,
    }
    return Judged(figures, best_ious(saliency, boxes))


def row_of(found: Sequence[Judged], against: Sequence[Judged] | None, owners: Sequence[int]) -> Row:
    """Every figure of a rule; with a rival its difference from it, in a 95 % bootstrap interval.

    Args:
        found: The maps of a rule.
        against: The same maps of its rival.
        owners: Number of the photograph of each; these are resampled.
    """
    mine, theirs = _figures(found), _figures(against or found)
    numbers = torch.tensor(owners)
    maps_of = [(numbers == one).nonzero()[:, 0] for one in sorted(set(owners))]
    row: Row = {}
    for name, figure in mine.items():
        row[name] = {"value": figure(torch.arange(len(found)))}
        if against:

            def difference(chosen: Tensor, name: str = name) -> float:
                maps = torch.cat([maps_of[int(one)] for one in chosen])
                return mine[name](maps) - theirs[name](maps)

            one = bootstrap(len(maps_of), difference)
            row[name] |= {"difference": one.value, "low": one.low, "high": one.high}
    return row


def _figures(found: Sequence[Judged]) -> dict[str, Figure]:
    ious = torch.stack([one.ious for one in found])

    def mean_of(name: str) -> Figure:
        values = torch.tensor([one.figures[name] for one in found]).double()
        return lambda maps: float(values[maps].nanmean())

    figures = {name: mean_of(name) for name in found[0].figures}
    return figures | {"max_box_acc_v2": lambda maps: max_box_accuracy(ious[maps])}

"""Confidence intervals by resampling images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sess_kernels.metrics.base import ClassIndices, class_places

_RESAMPLES = 2000
_LEVEL = 0.95
# how likely 0, at most 1, at most 2, ... are in Poisson's distribution of mean 1
_AT_MOST = np.cumsum([math.exp(-1) / math.factorial(count) for count in range(14)])


class Interval(NamedTuple):
    """A figure with its 95 % bootstrap interval (percentiles)."""

    value: float
    low: float
    high: float


def bootstrap(
    n: int, figure: Callable[[Tensor], float], resamples: int = _RESAMPLES, seed: int = 0
) -> Interval:
    """Resample ``n`` things with replacement and see how a figure moves.

    Give the difference of two rivals as the figure and it is paired: both see the same things.

    Args:
        n: How many things there are.
        figure: Of chosen things, ``int64 (n,)`` their numbers; where it is NaN it is left out.
        resamples: How often.
        seed: Of the choices.

    Example:
        >>> hits = torch.tensor([1.0, 0.0, 1.0, 1.0])
        >>> bootstrap(4, lambda chosen: hits[chosen].mean().item())
        Interval(value=0.75, low=0.25, high=1.0)
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(n, (resamples, n), generator=generator)
    values = torch.tensor([figure(one) for one in chosen]).double()
    return _interval(figure(torch.arange(n)), values)


class PoissonBootstrap:
    """Sums of statistics, and of a thousand resamples of the images beside them.

    Where ``bootstrap`` draws images again, here an image counts in each resample as often as a draw
    of Poisson's distribution of mean 1 says, which comes to the same for many images (Chamandy et
    al., Estimating uncertainty for massive data streams, Google 2012). So images come one after the
    other and nothing of them is kept, workers add their parts up, and as the draws depend on the id
    of an image alone, all maps of an image are drawn together and two rivals see the same images.

    The sums take 8 C S bytes for each resample.

    Args:
        n_classes: Rows of the sums, C: ``MapMetric.n_classes``.
        n_statistics: Statistics of a map, S.
        resamples: How many resamples, R.

    Attributes:
        sums: float64 (1 + R, C, S): the plain sums, then those of the resamples.

    Example:
        >>> sums = PoissonBootstrap(1, 2)
        >>> ids = [f"{number}.jpg" for number in range(100)]
        >>> sums.add(ids, None, torch.tensor([[1.0, 1.0], [0.0, 1.0]]).repeat(50, 1))
        >>> value, low, high = sums.interval(lambda sums: sums[:, 0, 0] / sums[:, 0, 1])
        >>> value, round(low, 1), round(high, 1)
        (0.5, 0.4, 0.6)
    """

    def __init__(self, n_classes: int, n_statistics: int, resamples: int = 1000) -> None:
        self.sums = torch.zeros(1 + resamples, n_classes, n_statistics, dtype=torch.float64)

    def add(self, ids: Sequence[str], class_indices: ClassIndices, statistics: Tensor) -> None:
        """Add maps.

        Args:
            ids: Ids of the images of the maps (N,).
            class_indices: Classes (N,); None if there is one, or with statistics of all classes.
            statistics: Of each map (N, S), or of all classes of each image (N, C, S).

        Raises:
            ValueError: If these do not go together.
        """
        known = self.sums.shape[1:]
        if len(statistics) != len(ids) or statistics.shape[1:] not in (known, known[1:]):
            raise ValueError(
                f"Expected statistics {(len(ids), *known[1:])} or {(len(ids), *known)} but got "
                f"{tuple(statistics.shape)}"
            )
        if not len(ids):
            return
        counts = poisson_counts(ids, len(self.sums) - 1).T
        statistics = statistics.double().cpu()
        if statistics.ndim == 3:
            self.sums += (counts @ statistics.flatten(1)).view_as(self.sums)
            return
        places = class_places(class_indices, len(ids), known[0])
        for place in sorted(set(places.tolist())):
            chosen = places == place
            self.sums[:, place] += counts[:, chosen] @ statistics[chosen]

    def merge(self, other: PoissonBootstrap) -> None:
        """Add what another one has seen of other images.

        Raises:
            ValueError: If it has other classes, statistics or resamples.
        """
        self.sums += self._like(other).sums

    def interval(self, figure: Callable[[Tensor], Tensor]) -> Interval:
        """A figure and how it moves.

        Args:
            figure: Of sums (1 + R, C, S) a figure each (1 + R,); where it is NaN it is left out.
        """
        values = figure(self.sums).double()
        return _interval(float(values[0]), values[1:])

    def intervals(self, figures: Callable[[Tensor], dict[str, Tensor]]) -> dict[str, Interval]:
        """As ``interval`` for several figures by name: those of ``MapMetric.figures``, say."""
        return {
            name: _interval(float(values[0]), values[1:].double())
            for name, values in figures(self.sums).items()
        }

    def paired(self, other: PoissonBootstrap, figure: Callable[[Tensor], Tensor]) -> Interval:
        """How much a figure is above that of a rival who has seen the same images.

        Args:
            other: The rival's sums.
            figure: See ``interval``.

        Raises:
            ValueError: If the rival has other classes, statistics or resamples.
        """
        values = figure(self.sums).double() - figure(self._like(other).sums).double()
        return _interval(float(values[0]), values[1:])

    def _like(self, other: PoissonBootstrap) -> PoissonBootstrap:
        if other.sums.shape != self.sums.shape:
            raise ValueError(
                f"Expected sums {tuple(self.sums.shape)} but got {tuple(other.sums.shape)}"
            )
        return other


def poisson_counts(ids: Sequence[str], resamples: int) -> Tensor:
    """How often images count in each resample; it depends on their ids alone.

    Args:
        ids: Ids of images (N,).
        resamples: How many resamples, R; those of fewer are the first of more.

    Returns:
        float64 (N, 1 + R): 1, then draws of Poisson's distribution of mean 1.

    Example:
        >>> poisson_counts(["cat.jpg", "dog.jpg"], 6).int().tolist()
        [[1, 0, 4, 0, 1, 0, 2], [1, 1, 0, 1, 1, 0, 0]]
    """
    drawn = {one: _drawn(one, resamples) for one in set(ids)}
    counts = np.stack([drawn[one] for one in ids]) if ids else np.zeros((0, resamples))
    return torch.from_numpy(np.hstack([np.ones((len(ids), 1)), counts]))


def _drawn(image_id: str, resamples: int) -> np.ndarray:
    # a hash of any length has the same bits in every process and in every release of NumPy
    found = hashlib.shake_128(image_id.encode("utf-8", "surrogatepass")).digest(4 * resamples)
    uniform = (np.frombuffer(found, "<u4") + 0.5) / 2**32
    return np.searchsorted(_AT_MOST, uniform)


def _interval(value: float, values: Tensor) -> Interval:
    tail = (1 - _LEVEL) / 2
    low, high = values.nanquantile(values.new_tensor([tail, 1 - tail])).tolist()
    return Interval(value, low, high)

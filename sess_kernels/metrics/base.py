"""What all metric classes share: figures of a sum of statistics of single maps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

ClassIndices = Sequence[int] | Tensor | None
"""Classes of maps; None if there is but one or the statistics are those of all classes."""


class MapMetric(Metric):
    """Figures of a sum of statistics of maps.

    ``observe`` says what there is to know of one map, ``update`` adds it up, ``figures`` says what
    the sum means. As nothing but sums is kept, those of workers are added (``merge_state``, or
    torchmetrics' own syncing), and sums of weighted maps are those of a resample
    (``PoissonBootstrap``).

    Args:
        n_classes: Rows of the sums, C; 1 for a metric that takes all classes together.
        n_statistics: Statistics of a map, S.
        options: Of ``torchmetrics.Metric``.

    Attributes:
        sums: float64 (C, S), the statistics that were added.

    Raises:
        ValueError: If there is no class.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    sums: Tensor

    def __init__(self, n_classes: int, n_statistics: int, **options: Any) -> None:
        super().__init__(**options)
        if n_classes < 1:
            raise ValueError(f"Expected at least 1 class but got {n_classes}")
        self.n_classes, self.n_statistics = n_classes, n_statistics
        zeros = torch.zeros(n_classes, n_statistics, dtype=torch.float64)
        self.add_state("sums", zeros, dist_reduce_fx="sum")

    @abstractmethod
    def observe(self, *given: Any, **options: Any) -> Tensor:
        """The statistics of one map: float64 (S,), or (C, S) of one image for masks; on the CPU."""

    @abstractmethod
    def figures(self, sums: Tensor) -> dict[str, Tensor]:
        """What sums mean.

        Args:
            sums: float64 (..., C, S).

        Returns:
            Figures by name, each (...): fractions in [0, 1], NaN where nothing was judged.
        """

    @abstractmethod
    def class_figures(self, sums: Tensor) -> dict[str, Tensor]:
        """What sums mean for each class by itself, at thresholds that serve all classes.

        Args:
            sums: float64 (..., C, S); with any C for a metric that takes all classes together.

        Returns:
            Figures by name, each (..., C).
        """

    def observe_batch(self, *batch: Any, **options: Any) -> Tensor:
        """The statistics of N maps, which may differ in size.

        Args:
            batch: The arguments of ``observe``, each for N maps: a tensor (N, ...) or a sequence.
            options: Those given by name, likewise.

        Returns:
            float64 (N, S) or (N, C, S), on the CPU.

        Raises:
            ValueError: If the arguments differ in length.
        """
        columns = [*batch, *options.values()]
        lengths = [len(one) for one in columns]
        if len(set(lengths)) > 1:
            raise ValueError(f"Expected arguments for as many maps each but got {lengths}")
        rows = zip(*columns, strict=True)
        n = len(batch)
        found = [self.observe(*row[:n], **dict(zip(options, row[n:], strict=True))) for row in rows]
        return torch.stack(found) if found else torch.zeros(0, self.n_statistics).double()

    def update(self, *batch: Any, class_indices: ClassIndices = None, **options: Any) -> None:
        """Add a batch of N maps.

        Args:
            batch: See ``observe_batch``.
            class_indices: Classes (N,); they may be left out if the metric has one.
            options: See ``observe_batch``.

        Raises:
            ValueError: If the arguments differ in length or a class is out of range.
        """
        found = self.observe_batch(*batch, **options).to(self.sums)
        if found.ndim == 3 or not len(found):
            self.sums += found.sum(0)
            return
        places = class_places(class_indices, len(found), self.n_classes)
        self.sums.index_add_(0, places.to(self.sums.device), found)

    def compute(self) -> dict[str, Tensor]:
        """``figures`` of all that was added."""
        return self.figures(self.sums)


def class_places(class_indices: ClassIndices, n_maps: int, n_classes: int) -> Tensor:
    """The row of the sums that each map belongs to.

    Args:
        class_indices: Classes (N,); None if there is one.
        n_maps: Number of maps, N.
        n_classes: Number of classes; with 1 every map is of the same row.

    Returns:
        int64 (N,), on the CPU.

    Raises:
        ValueError: If there are more or fewer than N classes, or one is out of range.

    Example:
        >>> class_places([2, 0], 2, 3), class_places([7, 9], 2, 1)
        (tensor([2, 0]), tensor([0, 0]))
    """
    if n_classes == 1:
        return torch.zeros(n_maps, dtype=torch.long)
    if class_indices is None:
        raise ValueError(f"Expected class_indices, as there are {n_classes} classes")
    places = torch.as_tensor(class_indices, dtype=torch.long).cpu()
    if places.shape != (n_maps,):
        raise ValueError(f"Expected {n_maps} class_indices but got {tuple(places.shape)}")
    if n_maps and not 0 <= places.min() <= places.max() < n_classes:
        raise ValueError(
            f"Expected classes from 0 to {n_classes - 1} but got {int(places.min())} to "
            f"{int(places.max())}"
        )
    return places

"""Statistics of judged maps, added up into figures with intervals, and differences of two."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from pipeline.evaluation.job import STATISTICS
from pipeline.evaluation.judge import Judge
from pipeline.evaluation.parts import read_parts
from pipeline.files import Folder
from pipeline.records import FAILED
from sess_kernels.metrics import Interval, PoissonBootstrap

_BLOCK = 256  # maps whose weights are drawn together

Key = tuple[str, int | None]
"""An image and a class of it, or none for the image as a whole."""


class Totals:
    """Sums of what one judge said of the maps of one variant.

    Args:
        judge: The judge.
        n_classes: Classes of the run.
        resamples: Resamples of an interval.

    Attributes:
        n_judged: Maps, or images, that were added.
    """

    def __init__(self, judge: Judge, n_classes: int, resamples: int) -> None:
        self._metric = judge.metric
        self._is_of_images = judge.is_of_images
        self._by_class = n_classes if self._metric.n_classes == 1 else self._metric.n_classes
        shape = self._metric.n_classes, self._metric.n_statistics
        self._sums = PoissonBootstrap(*shape, resamples=resamples)
        # every class by itself, for metrics that take them together
        self._of_class = torch.zeros(self._by_class, shape[1], dtype=torch.float64)
        self.n_judged = 0

    def add(self, ids: Sequence[str], classes: Sequence[int | None], table: Tensor) -> None:
        """Take statistics (N, S) of maps, or (N, C * S) of images."""
        self.n_judged += len(ids)
        if self._is_of_images:
            self._sums.add(ids, None, table.view(len(ids), *self._of_class.shape))
            self._of_class += table.view(len(ids), *self._of_class.shape).sum(0)
            return
        indices = [one for one in classes if one is not None]
        self._sums.add(ids, indices, table)
        self._of_class.index_add_(0, torch.tensor(indices), table)

    def figures(self) -> dict[str, Interval]:
        """Every figure with its interval."""
        names = self._metric.figures(self._sums.sums[:1])
        return {name: self._sums.interval(partial(self._figure, name)) for name in names}

    def minus(self, other: Totals) -> dict[str, Interval]:
        """The difference of every figure from that of another; both saw the same images."""
        names = self._metric.figures(self._sums.sums[:1])
        return {name: self._sums.paired(other._sums, partial(self._figure, name)) for name in names}

    def of_classes(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """Figures of each class that was judged, by its name.

        Args:
            names: Name of each class index; pseudo-masks have the background before them.
        """
        names = ("background", *names) if self._is_of_images else names
        found: dict[str, dict[str, float]] = {}
        for figure, values in self._metric.class_figures(self._of_class).items():
            for name, value in zip(names, values.tolist(), strict=True):
                if not math.isnan(value):
                    found.setdefault(name, {})[figure] = value
        return found

    def _figure(self, name: str, sums: Tensor) -> Tensor:
        return self._metric.figures(sums)[name]


def totals(
    dest: Folder,
    variant: str,
    judges: Sequence[Judge],
    n_classes: int,
    resamples: int,
    only: frozenset[Key] | None = None,
) -> dict[str, Totals]:
    """The sums of every judge over the rows of an evaluation.

    Args:
        dest: Folder of the evaluation.
        variant: Kind of maps.
        judges: The judges.
        n_classes: Classes of the run.
        resamples: Resamples of an interval.
        only: Rows to take; all if not given.
    """
    found = {judge.name: Totals(judge, n_classes, resamples) for judge in judges}
    # those of other metrics are most of the bytes
    columns = ["image_id", "class_index", "variant", *(STATISTICS + name for name in found)]
    for table in read_parts(dest, columns):
        rows = table.filter(pc.equal(table["variant"], variant))
        for name, one in found.items():
            column = STATISTICS + name
            for block in _blocks(rows.filter(pc.is_valid(rows[column])), only):
                ids, classes = (block[key].to_pylist() for key in ("image_id", "class_index"))
                flat = pc.list_flatten(block[column]).to_numpy(zero_copy_only=False)
                one.add(ids, classes, torch.from_numpy(np.array(flat)).view(len(ids), -1))
    return found


def keys_of(dest: Folder, variant: str, name: str) -> set[Key]:
    """What a judge has judged of a variant."""
    found: set[Key] = set()
    for table in read_parts(dest, ["image_id", "class_index", "variant", STATISTICS + name]):
        rows = table.filter(pc.equal(table["variant"], variant))
        rows = rows.filter(pc.is_valid(rows[STATISTICS + name]))
        ids, classes = (rows[key].to_pylist() for key in ("image_id", "class_index"))
        found.update(zip(ids, classes, strict=True))
    return found


def _blocks(rows: pa.Table, only: Iterable[Key] | None) -> Iterator[pa.Table]:
    if only is not None:
        keys = zip(rows["image_id"].to_pylist(), rows["class_index"].to_pylist(), strict=True)
        rows = rows.filter(pa.array([key in only for key in keys], pa.bool_()))
    for start in range(0, rows.num_rows, _BLOCK):
        yield rows.slice(start, _BLOCK)


class Counts(NamedTuple):
    """What an evaluation holds.

    Attributes:
        failed: Images that could not be judged.
        judged: Of each variant the images and maps that were.
    """

    failed: int
    judged: dict[str, tuple[int, int]]


def counts_of(dest: Folder) -> Counts:
    """Count the rows of an evaluation."""
    failed: set[str] = set()
    images: dict[str, set[str]] = {}
    maps: Counter[str] = Counter()
    for table in read_parts(dest, ["image_id", "variant", "class_index", "status"]):
        for row in table.to_pylist():
            if row["status"] == FAILED:
                failed.add(row["image_id"])
                continue
            images.setdefault(row["variant"], set()).add(row["image_id"])
            maps[row["variant"]] += row["class_index"] is not None
    return Counts(len(failed), {name: (len(ids), maps[name]) for name, ids in images.items()})

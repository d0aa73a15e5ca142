"""What runs in Ray's processes: stages that get shards as blocks of one row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from pipeline.commit import left_of
from pipeline.engines.base import Line, Stopped, by_shard
from pipeline.engines.tally import Tally
from pipeline.journal import Journal, Stage

_ROWS = "rows"


def pack(rows: pa.Table) -> pa.Table:
    """Rows as one row that holds them, so that nothing on the way takes a shard apart.

    Example:
        >>> unpack(pack(pa.table({"row": [4, 5]}))).to_pydict()
        {'row': [4, 5]}
    """
    whole = pa.StructArray.from_arrays(
        [column.combine_chunks() for column in rows.columns], fields=list(rows.schema)
    )
    bounds = pa.array([0, rows.num_rows], pa.int32())
    return pa.table({_ROWS: pa.ListArray.from_arrays(bounds, whole)})


def unpack(packed: pa.Table) -> pa.Table:
    """The rows that ``pack`` put together."""
    parts = [part.flatten() for part in packed[_ROWS].chunks]
    return pa.Table.from_batches([pa.RecordBatch.from_struct_array(part) for part in parts])


def shards_of(planned: pa.Table, done: Any) -> pa.Table:
    """Rows of the plan to its shards, one in a row, those rows left out that are done.

    Args:
        planned: Whole shards of the plan.
        done: Ref of the rows that are done, see ``commit.done_rows``.
    """
    bits: NDArray[np.uint8] = ray.get(done)
    left = planned.filter(pa.array(left_of(planned["row"].to_numpy(), bits)))
    packed = [pack(shard) for shard in by_shard(left)]
    return pa.concat_tables(packed) if packed else pack(planned)[:0]


class StageActor:
    """Stages that live in an actor, one behind the other; what they need is loaded there, once.

    Args:
        stages: What makes each stage, and the journal that runs batches through it.
        tally: Told of each batch of a stage with a backbone.
        last: Whether rows leave it one by one, to be written.
    """

    def __init__(
        self, stages: list[tuple[Callable[[], Stage], Journal]], tally: Tally, last: bool = False
    ) -> None:
        self._line = Line([(build(), journal) for build, journal in stages], tally.add)
        self._tally, self._last = tally, last

    def __call__(self, packed: pa.Table) -> pa.Table:
        """A shard behind the stages.

        Raises:
            Stopped: If the driver says so.
        """
        if stop := self._tally.stopped():
            raise Stopped(stop)
        rows = self._line(unpack(packed))
        return rows if self._last else pack(rows)


class Decode(StageActor):
    """Workers that read images; Ray shows this name."""


class PreFilter(StageActor):
    """Workers that score patches."""


class Saliency(StageActor):
    """Workers that explain patches and fuse their maps."""


class Encode(StageActor):
    """Workers that encode maps."""

"""What runs in Ray's processes: stages that get shards as blocks of one row, and their tally."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from pipeline.commit import left_of
from pipeline.engines.base import BatchDone, Line, Stopped, by_shard
from pipeline.journal import Journal, Stage

_ROWS = "rows"


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class TallyActor:
    """Collects what the workers finish until the driver asks; tells them to stop if it says so."""

    def __init__(self) -> None:
        self._done: list[BatchDone] = []
        self._stop: str | None = None

    def add(self, done: BatchDone) -> str | None:
        """Take the word of a batch; why the run is to stop, if it is."""
        self._done.append(done)
        return self._stop

    def take(self, stop: str | None) -> list[BatchDone]:
        """What has been added since the last call; ``stop`` is handed on to the workers."""
        self._stop = stop
        taken, self._done = self._done, []
        return taken


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
        self, stages: list[tuple[Callable[[], Stage], Journal]], tally: Any, last: bool = False
    ) -> None:
        self._line = Line([(build(), journal) for build, journal in stages], self._tell)
        self._tally, self._last = tally, last
        self._told: Any = None  # what the tally answers to the batch before

    def __call__(self, packed: pa.Table) -> pa.Table:
        """A shard behind the stages.

        Raises:
            Stopped: If the driver says so.
        """
        if self._told and (stop := ray.get(self._told)):
            raise Stopped(stop)
        rows = self._line(unpack(packed))
        return rows if self._last else pack(rows)

    def _tell(self, done: BatchDone) -> None:
        self._told = self._tally.add.remote(done)


class Decode(StageActor):
    """Workers that read images; Ray shows this name."""


class PreFilter(StageActor):
    """Workers that score patches."""


class Saliency(StageActor):
    """Workers that explain patches and fuse their maps."""


class Encode(StageActor):
    """Workers that encode maps."""

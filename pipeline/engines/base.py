"""What engines share: the job they get, where they place it, and the word of each batch."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.commit import left_of
from pipeline.config import RunConfig
from pipeline.files import Folder
from pipeline.journal import Journal, Stage
from pipeline.layout import PLAN_FOLDER
from pipeline.records import FAILED
from pipeline.scheduler import Plan, read_plan
from pipeline.stages import BackboneSpec, PreFilterWorker, SaliencyWorker
from sess_kernels.errors import SessError

_FILES = 4096  # of maps, aimed at
_MAX_ROWS_PER_FILE = 4096  # rows wait until so many are there; what dies with them is done again


@dataclass(frozen=True)
class Job:
    """One run: its settings, its backbone, its plan, and where its output goes.

    Attributes:
        config: Settings.
        backbone: What workers load.
        plan: The plan.
        out: Folder of the run.
        done: The rows that are committed already, see ``commit.done_rows``.
    """

    config: RunConfig
    backbone: BackboneSpec
    plan: Plan
    out: Folder
    done: NDArray[np.uint8]

    @property
    def n_left(self) -> int:
        """Rows that are not committed yet."""
        return self.plan.n_images - int(np.unpackbits(self.done)[: self.plan.n_images].sum())


@dataclass(frozen=True)
class Placement:
    """Where a job runs; the first two are part of what defines a map's bits.

    Attributes:
        device: Kind of device of the backbone workers.
        batch_size: Patches of a device batch; ``None``: the default of backbone and device.
        topology: ``fused`` or ``split``.
        why: Why this topology.
        workers: Workers with a backbone, by stage: the least and the most.
    """

    device: str
    batch_size: int | None
    topology: str
    why: str
    workers: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class BatchDone:
    """Counts and times of one batch of a saliency worker.

    Attributes:
        images: Rows of the batch.
        failed: Rows of them with an error.
        patches: Patches of the images.
        device: Kind of device it ran on.
        batch_size: Patches of its device batches.
        started: Time the worker began, seconds since the epoch.
        finished: Time it ended.
        device_batches: Device batches that it ran.
        full_batches: Those of them without padding.
        forwards: Patches that went through the backbone for scores or features: fewer than there
            are with ``search``, more where some went twice.
    """

    images: int
    failed: int
    patches: int
    device: str
    batch_size: int
    started: float
    finished: float
    device_batches: int = 0
    full_batches: int = 0
    forwards: int = 0


class Watch(Protocol):
    """What an engine tells of a run, and asks."""

    def placed(self, placement: Placement) -> None:
        """Where the job is about to run; raises ``SessError`` if it must not run there."""

    def done(self, batch: BatchDone) -> None:
        """A batch has ended; from any thread."""

    def stop(self) -> str | None:
        """Why the run is to stop before its end, if it is; from any thread."""


class Stopped(SessError):
    """The run was stopped for a reason that the message gives."""


class Counted:
    """Runs batches through a stage with a backbone and counts what it did.

    Args:
        stage: The stage; the rows of a ``PreFilterWorker`` are counted behind it.
    """

    def __init__(self, stage: PreFilterWorker | SaliencyWorker) -> None:
        self.stage = stage
        self._seen: tuple[int, ...] = (0, 0, 0)
        self._kernel = stage.sess

    def done(self, results: pa.Table, started: float) -> BatchDone:
        """The counts of a batch that began at ``started`` and gave ``results``."""
        images = failed = patches = 0
        if isinstance(self.stage, SaliencyWorker):
            images = results.num_rows
            failed = pc.sum(pc.equal(results["status"], FAILED)).as_py() or 0
            patches = pc.sum(results["n_patches"]).as_py() or 0
        kernel = self.stage.sess
        if kernel is not self._kernel:  # another device batch, counted anew
            self._kernel, self._seen = kernel, (0, 0, 0)
        seen = (kernel.packing.batches, kernel.packing.full, kernel.packing.patches)
        done = (now - before for now, before in zip(seen, self._seen, strict=True))
        self._seen = seen
        placed = (kernel.backbone.device.type, kernel.batch_size)
        return BatchDone(images, failed, patches, *placed, started, time.time(), *done)


class Line:
    """Stages that a worker runs one behind the other, each with its journal.

    Args:
        stages: The stages.
        tell: Told of each batch of a stage with a backbone.
    """

    def __init__(
        self, stages: Sequence[tuple[Stage, Journal]], tell: Callable[[BatchDone], None]
    ) -> None:
        self._stages = stages
        self._counted = {
            journal.name: Counted(stage)
            for stage, journal in stages
            if isinstance(stage, (PreFilterWorker, SaliencyWorker))
        }
        self._tell = tell

    def __call__(self, rows: pa.Table) -> pa.Table:
        """A shard behind the last stage."""
        for stage, journal in self._stages:
            started = time.time()
            rows = journal.run(stage, rows)
            if counted := self._counted.get(journal.name):
                self._tell(counted.done(rows, started))
        return rows


def shards_left(job: Job) -> Iterator[pa.Table]:
    """The shards of a job without the rows that are done, one after the other."""
    for rows in read_plan(job.out / PLAN_FOLDER, job.plan.files):
        left = left_of(rows["row"].to_numpy(), job.done)
        yield from by_shard(rows.filter(pa.array(left)))


def by_shard(rows: pa.Table) -> Iterator[pa.Table]:
    """The rows shard by shard; those of a shard follow each other.

    Example:
        >>> [len(one) for one in by_shard(pa.table({"shard": [3, 3, 4]}))]
        [2, 1]
    """
    shards = rows["shard"].to_numpy()
    cuts = np.flatnonzero(np.diff(shards)) + 1
    bounds = [0, *cuts.tolist(), len(shards)]
    for first, stop in itertools.pairwise(bounds):
        if stop > first:
            yield rows.slice(first, stop - first)


def rows_per_file(plan: Plan) -> int:
    """Rows of a file of ``OUT/maps``: few files however large the dataset.

    Example:
        >>> rows_per_file(Plan(16, 1_000_000, 0, 0, 0, ""))
        245
    """
    return min(-(-plan.n_images // _FILES), _MAX_ROWS_PER_FILE)

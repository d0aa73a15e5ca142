"""What engines share: the job they get and the word they give of each finished batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import RunConfig
from pipeline.records import FAILED
from pipeline.scheduler import Plan
from pipeline.stages import BackboneSpec, SaliencyWorker


@dataclass(frozen=True)
class Job:
    """One run: its settings, its backbone, its plan, and where its output goes."""

    config: RunConfig
    backbone: BackboneSpec
    plan: Plan
    out: Path


@dataclass(frozen=True)
class BatchDone:
    """Counts and times of one batch of a backbone worker.

    Attributes:
        images: Rows of the batch.
        failed: Rows of them with an error.
        patches: Patches scored.
        device: Kind of device it ran on.
        batch_size: Patches of its device batches.
        started: Time the worker began, seconds since the epoch.
        finished: Time it ended.
    """

    images: int
    failed: int
    patches: int
    device: str
    batch_size: int
    started: float
    finished: float


OnBatch = Callable[[BatchDone], None]


def timed(worker: SaliencyWorker, batch: pa.Table, on_batch: OnBatch) -> pa.Table:
    """Run a batch through its backbone worker and tell ``on_batch`` what it did."""
    started = time.time()
    results = worker(batch)
    failed = pc.sum(pc.equal(results["status"], FAILED)).as_py() or 0
    patches = pc.sum(results["n_patches"]).as_py() or 0
    placed = (worker.device, worker.batch_size)
    on_batch(BatchDone(results.num_rows, failed, patches, *placed, started, time.time()))
    return results

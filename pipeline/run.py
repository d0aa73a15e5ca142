"""A run from source to OUT: check, plan, run the stages, record; and the same again to resume."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from pipeline.begin import Begun, prepared, reopened
from pipeline.commit import done_rows, read_committed, recover
from pipeline.config import RunConfig
from pipeline.engines import BatchDone, Job, Placement, engine
from pipeline.files import Folder
from pipeline.layout import JOURNAL_FOLDER, MAPS_FOLDER
from pipeline.record import COMPLETE, RUNNING, write_record
from pipeline.records import FAILED
from pipeline.scheduler import Plan
from pipeline.summary import Summary
from pipeline.watch import RunWatch
from sess_kernels.errors import SessError

OnPlan = Callable[[Plan], None]
OnBatch = Callable[[BatchDone], None]
OnPlaced = Callable[[Placement], None]


def run(
    source: str,
    out: str | Path,
    config: RunConfig | None = None,
    *,
    overwrite: bool = False,
    on_plan: OnPlan = lambda plan: None,
    on_placed: OnPlaced = lambda placement: None,
    on_batch: OnBatch = lambda done: None,
) -> Summary:
    """Turn a source into class saliency maps, or go on where an earlier run of it has stopped.

    Args:
        source: ``KIND:PATH``, or a path whose kind is guessed.
        out: Folder for plan, maps and ``run.json``, as a path or URI.
        config: Settings of the run.
        overwrite: Replace an earlier run in ``out``.
        on_plan: Told of the plan before the engine starts.
        on_placed: Told where the run goes.
        on_batch: Told of every finished batch, from any thread.

    Returns:
        Counts and times; ``failed`` rows are written with their reason.

    Raises:
        SessError: If the configuration or the input is bad, OUT holds another run, or another
            driver writes to it; nothing has been run then. Also if the run is stopped because
            rows fail wholesale.

    Example:
        >>> run("nowhere", "out", RunConfig(engine="local"))
        Traceback (most recent call last):
        ...
        sess_kernels.errors.SessError: folder nowhere does not exist; give a folder of images ...
    """
    with prepared(source, out, config or RunConfig(), overwrite) as begun:
        on_plan(begun.plan)
        if begun.record["state"] == COMPLETE:
            return replace(Summary.of(begun.record["summary"]), was_complete=True)
        return _run(begun, on_placed, on_batch)


def plan(
    source: str, out: str | Path, config: RunConfig | None = None, *, overwrite: bool = False
) -> Plan:
    """Plan a run and stop there; ``run`` goes on with the plan.

    Args:
        source: As in ``run``.
        out: Likewise.
        config: Likewise.
        overwrite: Likewise.

    Raises:
        SessError: As in ``run``.
    """
    with prepared(source, out, config or RunConfig(), overwrite) as begun:
        return begun.plan


def retry(
    out: str | Path,
    *,
    on_plan: OnPlan = lambda plan: None,
    on_placed: OnPlaced = lambda placement: None,
    on_batch: OnBatch = lambda done: None,
) -> Summary:
    """Do the failed rows of a run again, and no others.

    Args:
        out: Folder of the run.
        on_plan: As in ``run``.
        on_placed: Likewise.
        on_batch: Likewise.

    Raises:
        SessError: If there is no run in ``out``, or another driver writes to it.
    """
    with reopened(out) as begun:
        on_plan(begun.plan)
        return _run(begun, on_placed, on_batch)


def _run(begun: Begun, on_placed: OnPlaced, on_batch: OnBatch) -> Summary:
    out, record, plan_ = begun.out, begun.record, begun.plan
    recover(out)
    done = done_rows(out, plan_.n_images)
    job = Job(begun.config, begun.spec, plan_, out, done)
    resumed = plan_.n_images - job.n_left
    summary = Summary(plan_s=time.perf_counter() - begun.began, resumed=resumed)

    def placed(placement: Placement) -> None:
        bits = {"device": placement.device, "batch_size": placement.batch_size}
        record["placement"] = asdict(placement)
        write_record(out, record | {"state": RUNNING, "bits": bits})
        record["bits"] = bits
        on_placed(placement)

    def told(batch: BatchDone) -> None:
        begun.lease.told = summary.to_dict()
        on_batch(batch)

    watch = RunWatch(summary, begun.config.max_errors, record.get("bits"), placed, told)
    begun.lease.on_lost = watch.end
    (out / MAPS_FOLDER).create()
    started = time.perf_counter()
    if job.n_left:
        engine(begun.config.engine)(job, watch)
    summary.run_s = time.perf_counter() - started
    _count_rows(out, plan_, summary)
    (out / JOURNAL_FOLDER).delete()
    write_record(out, record | {"state": COMPLETE, "summary": summary.to_dict()})
    return summary


def _count_rows(out: Folder, plan_: Plan, summary: Summary) -> None:
    """Take the counts from what is written: messages of workers may be lost or come twice.

    Raises:
        SessError: If rows of the plan are missing or there twice.
    """
    seen = np.zeros(plan_.n_images, bool)
    images = failed = patches = 0
    for table in read_committed(out, ["row", "status", "n_patches"]):
        images += table.num_rows
        failed += pc.sum(pc.equal(table["status"], FAILED)).as_py() or 0
        patches += pc.sum(table["n_patches"]).as_py() or 0
        seen[table["row"].to_numpy()] = True
    summary.images, summary.failed, summary.patches = images, failed, patches
    found = int(seen.sum())
    if found != plan_.n_images or images != found:
        raise SessError(
            f"{out.uri} has {found} of {plan_.n_images} planned rows, {images - found} of them "
            "twice; run again to go on, and report it if it happens twice"
        )

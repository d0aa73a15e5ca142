"""What the driver of engine ray holds, whatever the size of the dataset."""

from __future__ import annotations

import bisect
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jobs.benchmarks.measure import Row, Setting
from jobs.benchmarks.processes import Use, watched
from jobs.benchmarks.standin import feign_gpus, write_table
from pipeline import RunConfig, run
from pipeline.engines import BatchDone, Stopped

_FEW = 10_000
_SIDE = 227
_MOST_RUN = 500_000  # rows that are run; the rest is planned only


@dataclass
class _Found:
    """What a run told, and when."""

    planned: float = 0.0
    batches: list[BatchDone] = field(default_factory=list)
    rows_written: bool = False


def driver(setting: Setting) -> list[Row]:
    """Memory of the driver's process with ``--rows`` planned rows beside 10,000 of them.

    The files do not exist, so a row costs little. At most 500,000 rows are run.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for n_rows in (_FEW, setting.rows):
            names = [f"{number}.jpg" for number in range(n_rows)]
            table = write_table(Path(folder), names, _SIDE)
            found, uses = watched(_run, str(table), Path(folder) / f"out{n_rows}")
            rows.append(_row(n_rows, found, uses))
    few, many = rows
    ratio = many["peak_mb"] / few["peak_mb"]
    spread_of_one = {"median": ratio, "q1": ratio, "q3": ratio, "n": 1}
    return [few, many | {"against": f"with {_FEW:,} rows", "ratio": spread_of_one}]


def _run(table: str, out: Path) -> _Found:
    found = _Found()

    def planned(_: object) -> None:
        found.planned = time.time()

    feign_gpus(1, cpus=os.cpu_count() or 1)  # beside a GPU every stage has processes of its own
    config = RunConfig(
        backbone="jobs.benchmarks.standin:noop",
        scales=1,
        device="cpu",
        gpus_per_worker=1.0,
        max_errors=max(_FEW, _MOST_RUN),
    )
    with suppress(Stopped):
        run(table, out, config, on_plan=planned, on_batch=found.batches.append)
        found.rows_written = True
    return found


def _row(n_rows: int, found: _Found, uses: list[Use]) -> Row:
    ends = sorted(batch.finished for batch in found.batches)
    before = [one for one in uses if one.time <= found.planned]
    during = [one for one in uses if ends[0] <= one.time <= ends[-1]]
    shards = [bisect.bisect(ends, one.time) for one in during]
    half = len(during) // 2  # what caches take at first is no growth
    bytes_each = float(np.polyfit(shards[half:], [one.own_bytes for one in during[half:]], 1)[0])
    cpu_each = (during[-1].own_cpu_s - during[0].own_cpu_s) / max(1, shards[-1] - shards[0])
    return {
        "backbone": "none",
        "what": f"peak memory of the driver, {n_rows:,} rows",
        "peak_mb": max(one.own_bytes for one in uses) / 1e6,
        "planned_mb": before[-1].own_bytes / 1e6,
        "plan_peak_mb": max(one.own_bytes for one in before) / 1e6,
        "engine_start_mb": during[0].own_bytes / 1e6,
        "engine_peak_mb": max(one.own_bytes for one in during) / 1e6,
        "growth_mb_per_1000_shards": bytes_each / 1e3,
        "driver_cpu_ms_per_shard": 1e3 * cpu_each,
        "shards_per_s": (len(ends) - 1) / (ends[-1] - ends[0]),
        "cores_used": (during[-1].cpu_s - during[0].cpu_s) / (during[-1].time - during[0].time),
        "shards_run": len(ends),
        "rows_run": sum(batch.images for batch in found.batches),
        "ran_to_the_end": found.rows_written,
    }

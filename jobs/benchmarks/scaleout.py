"""More workers than this machine has devices: a backbone that only sleeps."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from jobs.benchmarks.engines import Steady, between, timed_run
from jobs.benchmarks.measure import Row, Setting
from jobs.benchmarks.processes import cpu_between, watched
from jobs.benchmarks.standin import SLEEPS, feign_gpus, write_images
from pipeline import RunConfig
from pipeline.engines import BatchDone
from sess_kernels.errors import SessError, unknown

_WORKERS = (1, 2, 4, 8, 16)
_SIDE = 227  # as in the measurement that the times are of
_SECONDS = 30.0  # that every worker sleeps


def scaleout(setting: Setting) -> list[Row]:
    """Images a second of so many workers over so many times those of one.

    Everything but the backbone is real: a file is decoded, a map fused, encoded and written.

    Raises:
        SessError: If there is no time for the backbone.
    """
    name = setting.backbone
    if name not in SLEEPS:
        raise SessError(unknown("backbone with a measured time", name, SLEEPS))
    rows: list[Row] = []
    alone = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for n_workers in _WORKERS:
            n_rows = round(n_workers * _SECONDS / SLEEPS[name])
            table = write_images(Path(folder) / "images", n_rows, _SIDE, ".jpg")
            config = RunConfig(
                backbone=f"jobs.benchmarks.standin:{name.rpartition('/')[2]}",
                scales=1,
                workers=n_workers,
                gpus_per_worker=1,
                cpu_workers=1,  # to start more in the middle would cost seconds of CPU
                device="cpu",
            )
            out = Path(folder) / str(n_workers)
            (_, batches), uses = watched(_run, str(table), out, config)
            phase = _phase(batches, n_workers)
            alone = alone or phase.images_per_s
            efficiency = phase.images_per_s / (n_workers * alone)
            cores = cpu_between(uses, phase.start, phase.end) / (phase.end - phase.start)
            rows.append(
                {
                    "backbone": name,
                    "what": f"{n_workers} workers that sleep {1e3 * SLEEPS[name]:.1f} ms an image",
                    "against": "as many times one of them",
                    "ratio": {"median": efficiency, "q1": efficiency, "q3": efficiency, "n": 1},
                    "images_per_s": phase.images_per_s,
                    "cores_used": cores,
                    "seconds": phase.end - phase.start,
                    "shards": len(batches),
                }
            )
    return rows


def _phase(batches: list[BatchDone], n_workers: int) -> Steady:
    """From when each worker could have its second shard until none is left to begin."""
    begun = sorted(b.started for b in batches)
    if len(begun) < n_workers + 2:
        raise SessError(f"{len(begun)} shards are too few for {n_workers} workers")
    return between(batches, begun[n_workers], begun[-1])


def _run(table: str, out: Path, config: RunConfig) -> tuple[float, list[BatchDone]]:
    """A run on a machine that claims devices it has not."""
    feign_gpus(max(_WORKERS), cpus=64)
    os.environ["RAY_DATA_DEFAULT_WAIT_FOR_MIN_ACTORS_S"] = "600"  # all begin together
    return timed_run(table, out, config)

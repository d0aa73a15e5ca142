"""The Ray engine: the stages on Ray Data, backbone workers as a pool of actors.

A block is a shard of the plan. Decode, saliency and encode are actor pools, saliency's with a
pinned backbone; Ray Data streams blocks between them, holds back what the next stage cannot take
yet, and writes.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data

from pipeline.config import RunConfig
from pipeline.engines.base import BatchDone, Job, OnBatch, timed
from pipeline.read import MAPS_FOLDER
from pipeline.sinks import EncodeWorker
from pipeline.stages import BackboneSpec, DecodeWorker, SaliencyWorker
from sess_kernels.errors import SessError, one_line

_BLOCK_BYTES = 8 * 2**20  # small blocks, so that stages overlap on small datasets too
_BACKBONE_CPUS = 0.5  # share of its threads' cores a CPU worker books; decode and write need room
_TASK_CPUS = 0.1  # of decode, encode, read and write each: all fit beside it on one core
_POLL_SECONDS = 0.5
_IDLE_MS = 600_000  # read and write tasks come seldom; their processes are to wait for them


@ray.remote(num_cpus=0)
class _Tally:
    """Collects what the workers finish until the driver asks."""

    def __init__(self) -> None:
        self._done: list[BatchDone] = []

    def add(self, done: BatchDone) -> None:
        self._done.append(done)

    def take(self) -> list[BatchDone]:
        taken, self._done = self._done, []
        return taken


class _SaliencyActor:
    """A saliency worker that lives in an actor and loads its backbone there, once."""

    def __init__(self, backbone: BackboneSpec, config: RunConfig, device: str, tally: Any) -> None:
        self._worker = SaliencyWorker(backbone.load(device), config)
        self._tally = tally

    def __call__(self, decoded: pa.Table) -> pa.Table:
        return timed(self._worker, decoded, self._tally.add.remote)


def run_ray(job: Job, on_batch: OnBatch) -> None:
    """Run a job on Ray, started here unless the job names a cluster or Ray already runs.

    Args:
        job: What to run.
        on_batch: Told of every finished batch, from another thread.

    Raises:
        SessError: If the cluster cannot be reached or has no GPU where one is asked for.
    """
    with _cluster(job.config):
        tally = _Tally.remote()  # type: ignore[attr-defined]
        stop = threading.Event()

        def report() -> None:
            last = False
            while not last:
                last = stop.wait(_POLL_SECONDS)
                for done in ray.get(tally.take.remote()):
                    on_batch(done)

        reporter = threading.Thread(target=report, daemon=True)
        reporter.start()
        try:
            _dataset(job, tally).write_parquet(
                str(job.out / MAPS_FOLDER), ray_remote_args={"num_cpus": _TASK_CPUS}
            )
        finally:
            stop.set()
            reporter.join(timeout=10)


def _dataset(job: Job, tally: Any) -> ray.data.Dataset:
    config = job.config
    n_workers, device, resources = _placement(config)
    n_workers = min(n_workers, len(job.plan.shards))
    rows_per_shard = -(-job.plan.n_images // len(job.plan.shards))
    # one decoder feeds many backbone workers on CPUs; a backbone on a GPU outruns several
    most = n_workers * 4 if device == "cuda" else max(1, n_workers // 4)
    # actors, not tasks: Ray ends idle task processes, and each new one imports everything again
    helpers: dict[str, Any] = {
        "batch_format": "pyarrow",
        "batch_size": None,
        "compute": ray.data.ActorPoolStrategy(min_size=1, max_size=most),
        "num_cpus": _TASK_CPUS,
    }
    planned = ray.data.read_parquet(
        [str(shard) for shard in job.plan.shards],
        override_num_blocks=len(job.plan.shards),
        num_cpus=_TASK_CPUS,
    )
    decoded = planned.map_batches(DecodeWorker, **helpers)
    results = decoded.map_batches(
        _SaliencyActor,
        fn_constructor_args=(job.backbone, config, device, tally),
        batch_format="pyarrow",
        # a block is a batch; with GPUs Ray Data wants a number, and gathers blocks to reach it
        batch_size=rows_per_shard if "num_gpus" in resources else None,
        compute=ray.data.ActorPoolStrategy(size=n_workers),
        **resources,
    )
    return results.map_batches(
        EncodeWorker, fn_constructor_args=(job.out, config.formats, config.map_dtype), **helpers
    )


def _placement(config: RunConfig) -> tuple[int, str, dict[str, Any]]:
    """Workers, their device, and the resources each books."""
    offered = ray.cluster_resources()
    gpus = int(offered.get("GPU", 0))
    if config.device == "cuda" and not gpus:
        raise SessError("device is cuda but the Ray cluster offers no GPU; use --device cpu")
    if gpus and config.device != "cpu":
        n_workers = config.workers or gpus
        return n_workers, "cuda", {"num_gpus": min(1.0, gpus / n_workers), "num_cpus": _TASK_CPUS}
    cores = int(offered.get("CPU", 1))
    n_workers = config.workers or max(1, cores // config.threads)
    booked = min(config.threads, cores / n_workers) * _BACKBONE_CPUS
    return n_workers, "cpu", {"num_cpus": booked}


@contextmanager
def _cluster(config: RunConfig) -> Iterator[None]:
    """A Ray cluster for the time of the run, quiet and open to this machine alone."""
    _quieten()
    if ray.is_initialized():  # the caller's own, which is not ours to stop
        yield
        return
    # Ray's core warns of Ray Data's own actors on stderr; real faults are raised
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        with _stderr_closed():
            if config.address:
                ray.init(address=config.address, **quiet)
            else:
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
                ray.init(
                    address="local",
                    num_cpus=os.cpu_count(),
                    include_dashboard=False,
                    dashboard_host="127.0.0.1",
                    _system_config={"idle_worker_killing_time_threshold_ms": _IDLE_MS},
                    _node_ip_address="127.0.0.1",
                    **quiet,
                )
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = config.address or "this machine"
        raise SessError(
            f"Ray cannot be reached at {where}: {one_line(error)[:160]}; "
            "check the address, or run with --engine local"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _stderr_closed() -> Iterator[None]:
    """Nothing on stderr, not from C++ either, which announces that its log level is set."""
    sys.stderr.flush()
    saved = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _quieten() -> None:
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = _BLOCK_BYTES
    context.use_datasource_v2 = False  # it reads small files together; a shard is to be one block
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)

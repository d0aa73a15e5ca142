"""The Ray engine: the stages on Ray Data, which places, streams, holds back and commits.

A block is a shard of the plan, packed into one row, from the plan to the sink: whatever dies, the
same rows go the same way again. Pools of actors decode, pre-filter, explain and encode (see
``pipeline.engines.lines``); those with a backbone keep it. Ray Data writes in two phases (see
``pipeline.commit``); the rows that an earlier run committed are left out where the plan is read, by
one bit each.
"""

from __future__ import annotations

import logging
import threading
import warnings
from functools import partial
from typing import Any

import ray
import ray.data
from ray.data._internal.util import RetryingPyFileSystem, RetryingPyFileSystemHandler
from ray.data.checkpoint import CheckpointConfig, CheckpointManager

from pipeline.commit import ROW
from pipeline.engines.actors import shards_of
from pipeline.engines.ahead import hold_back
from pipeline.engines.base import Job, Placement, Stopped, Watch, rows_per_file
from pipeline.engines.cluster import TASK_CPUS, Pool, cluster, device_of, n_places, pool
from pipeline.engines.lines import Actors, helpers, lines
from pipeline.engines.pace import rest
from pipeline.engines.tally import Tally
from pipeline.engines.topology import choose
from pipeline.layout import CHECKPOINT_FOLDER, MAPS_FOLDER, PLAN_FOLDER
from pipeline.shards import MAX_SHARD_BYTES
from pipeline.stores import STORE_FAULTS
from sess_kernels.errors import SessError

_POLL_SECONDS = 0.5
_SHARDS_AHEAD = 4  # a worker: what is on the way between stages


class _NothingToLoad(CheckpointManager):
    """Ray Data commits; what is committed is left out by ``shards_of``, in a bit a row."""

    def load_checkpoint(self, *where: Any, **more: Any) -> tuple[None, int]:
        return None, 0


class _MarkerFiles(RetryingPyFileSystemHandler):
    """The file system of the markers; Ray Data itself makes their folder without a second try."""

    def move(self, src: str, dest: str) -> None:
        """Move once: Ray Data tries this again, and looks first whether it is done already."""
        self.unwrap().move(src, dest)


def run_ray(job: Job, watch: Watch) -> None:
    """Run a job on Ray, started here unless the job names a cluster or Ray already runs.

    Args:
        job: What to run.
        watch: Told and asked, from another thread too.

    Raises:
        SessError: If the cluster cannot be reached or has no GPU where one is asked for.
        Stopped: If ``watch`` stops the run.
    """
    with cluster(job.config):
        pools, placement = _placed(job)
        watch.placed(placement)
        tally, ended = Tally(), threading.Event()

        def report() -> None:
            last = False
            while not last:
                last = ended.wait(_POLL_SECONDS)
                for done in tally.take():
                    watch.done(done)
                if stop := watch.stop():
                    tally.stop(stop)
            tally.end()

        reporter = threading.Thread(target=report, daemon=True)
        reporter.start()
        try:
            _write(_dataset(job, pools, placement.device, tally), job, pools)
        except ray.exceptions.RayError as error:
            if stop := watch.stop():
                raise Stopped(stop) from error
            raise _origin(error) from error
        finally:
            ended.set()
            reporter.join(timeout=10)
        if stop := watch.stop():  # told by the last batches
            raise Stopped(stop)


def _placed(job: Job) -> tuple[dict[str, Pool], Placement]:
    config = job.config
    device = device_of(config)
    topology, share, why = choose(job, n_places(config, device))
    book = partial(pool, config, device)
    pools = {}
    if topology == "split":
        accelerator = config.pre_filter_accelerator
        pools["pre-filter"] = book(1 - share, config.pre_filter_workers, accelerator)
    pools["saliency"] = book(share, config.workers, config.accelerator)
    workers = {name: (one.least, one.most) for name, one in pools.items()}
    return pools, Placement(device, config.batch_size, topology, why, workers)


def _dataset(job: Job, pools: dict[str, Pool], device: str, tally: Tally) -> ray.data.Dataset:
    _configure(job, sum(one.most for one in pools.values()))
    found = _shards(job)
    *before, last = lines(job, pools, device)
    for actors in before:
        found = _stage(found, actors, job, tally)
    return _stage(found, last, job, tally, last=True)


def _shards(job: Job) -> ray.data.Dataset:
    """The shards of the plan, read by one task at a time.

    More than one would take the cores that a small machine has left for the sink: Ray Data serves
    what comes first in the row.
    """
    plan = [f"{(job.out / PLAN_FOLDER).path}/{name}" for name in job.plan.files]
    booked: dict[str, Any] = {"num_cpus": TASK_CPUS, "concurrency": 1}
    shards = (
        ray.data.read_parquet(
            plan, filesystem=job.out.files, override_num_blocks=len(plan), **booked
        )
        .map_batches(
            partial(shards_of, done=ray.put(job.done)),
            batch_format="pyarrow",
            batch_size=None,
            **booked,
        )
        .repartition(target_num_rows_per_block=1)
    )
    # it has no argument for what it books; booking what the read does, it becomes part of it
    last: Any = shards._logical_plan.dag
    last.ray_remote_args["num_cpus"] = TASK_CPUS
    last.compute.size = booked["concurrency"]
    return shards


def _stage(
    shards: ray.data.Dataset, actors: Actors, job: Job, tally: Tally, last: bool = False
) -> ray.data.Dataset:
    """A pool of actors that run stages: actors, as Ray ends idle processes of tasks."""
    workers = actors.pool
    most = max(1, min(workers.most, job.plan.n_shards))
    return shards.map_batches(
        actors.kind,
        fn_constructor_args=(actors.stages, tally, last),
        batch_format="pyarrow",
        batch_size=1,  # a row is a shard
        compute=ray.data.ActorPoolStrategy(min_size=min(workers.least, most), max_size=most),
        **workers.resources,
    )


def _write(rows: ray.data.Dataset, job: Job, pools: dict[str, Pool]) -> None:
    rows.write_parquet(
        (job.out / MAPS_FOLDER).path,
        filesystem=job.out.files,
        min_rows_per_file=rows_per_file(job.plan),
        ray_remote_args={"num_cpus": TASK_CPUS},
        concurrency=helpers(pools, job.config).most,  # each takes seconds of CPU to start
    )


def _configure(job: Job, n_workers: int) -> None:
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = None  # nothing takes a block apart or puts two together
    context.use_datasource_v2 = False
    context.retried_io_errors = faults = sorted({*context.retried_io_errors, *STORE_FAULTS})
    context.enable_progress_bars = False
    hold_back(context)
    rest(context)
    context.memory_usage_poll_interval_s = None  # a thread for every task
    context.print_on_execution_start = False
    context.execution_options.resource_limits = context.execution_options.resource_limits.copy(
        object_store_memory=(n_workers + 2) * _SHARDS_AHEAD * MAX_SHARD_BYTES
    )
    context.checkpoint_config = CheckpointConfig(
        id_column=ROW,
        checkpoint_path=(job.out / CHECKPOINT_FOLDER).path,
        delete_checkpoint_on_success=False,
        override_filesystem=RetryingPyFileSystem(_MarkerFiles(job.out.files, faults)),
        checkpoint_manager_cls=_NothingToLoad,
    )
    # a small run has fewer files to write than writers, and nobody needs to be told
    warnings.filterwarnings("ignore", "The maximum number of concurrent tasks", UserWarning)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what ends a run is raised too


def _origin(error: Exception) -> Exception:
    """What a worker raised, out of Ray's wrapping, if it tells the user what to do."""
    seen: BaseException | None = error
    while seen is not None:
        told = isinstance(seen, (OSError, SessError))
        if isinstance(seen, Exception) and told and not isinstance(seen, ray.exceptions.RayError):
            return seen
        seen = getattr(seen, "cause", None) or seen.__cause__
    return error

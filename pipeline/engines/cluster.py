"""The Ray cluster of a run: reached or started, quiet, and what of it each worker books."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from pipeline.config import RunConfig, worker_range
from sess_kernels.errors import SessError, one_line

TASK_CPUS = 0.1  # of decode, encode, read and write each: all fit beside a backbone on one core
_BACKBONE_CPUS = 0.5  # share of its threads' cores a CPU worker books; decode and write need room
_SYSTEM = {
    # read and write tasks come seldom; their processes are to wait for them
    "idle_worker_killing_time_threshold_ms": 600_000,
    # Ray's own 15 gives a worker next to nothing beside any other program that computes
    "worker_niceness": 0,
    # figures of every wake of every process, hundreds a second, that nobody reads
    "event_stats": False,
}
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # what is logged is not asked for: nothing is to look for it ten times a second
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    "LOG_NAME_UPDATE_INTERVAL_S": "1e9",
}
_REACH_SECONDS = 20.0


@dataclass(frozen=True)
class Pool:
    """Workers with a backbone.

    Attributes:
        least: As many at any time.
        most: As many while there is work for them.
        resources: What each books, as Ray names it.
    """

    least: int
    most: int
    resources: dict[str, Any]


@contextmanager
def cluster(config: RunConfig) -> Iterator[None]:
    """A Ray cluster for the time of the run, quiet and open to this machine alone.

    Raises:
        SessError: If the cluster cannot be reached.
    """
    if ray.is_initialized():  # the caller's own, which is not ours to stop
        yield
        return
    _start(config)
    try:
        yield
    finally:
        ray.shutdown()


def _start(config: RunConfig) -> None:
    # Ray's core warns of Ray Data's own actors on stderr; real faults are raised
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        with _stderr_closed(), _own_signals():
            if config.address:
                _reach(config.address)
                ray.init(address=config.address, **quiet)
            else:
                for name, value in _ENVIRONMENT.items():
                    os.environ.setdefault(name, value)
                ray.init(
                    address="local",
                    num_cpus=os.cpu_count(),
                    include_dashboard=False,
                    dashboard_host="127.0.0.1",
                    _system_config=_SYSTEM,
                    _node_ip_address="127.0.0.1",
                    **quiet,
                )
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        where = config.address or "this machine"
        raise SessError(
            f"Ray cannot be reached at {where}: {one_line(error)[:160]}; "
            "check the address, or run with --engine local"
        ) from error


def _reach(address: str) -> None:
    """Raise at once where nothing listens: Ray would try again for ten minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():  # else a word that Ray knows
        socket.create_connection((host.strip("[]"), int(port)), _REACH_SECONDS).close()


def device_of(config: RunConfig) -> str:
    """Where backbone workers compute: ``cuda`` if the cluster offers GPUs, unless it is said.

    Raises:
        SessError: If it is to be CUDA and the cluster has no GPU.
    """
    gpus = ray.cluster_resources().get("GPU", 0)
    if config.device == "cuda" and not gpus:
        raise SessError("device is cuda but the Ray cluster offers no GPU; use --device cpu")
    return "cuda" if gpus and config.device != "cpu" else "cpu"


def n_places(config: RunConfig, device: str) -> int:
    """How many backbone workers the cluster has room for."""
    offered = ray.cluster_resources()
    if config.gpus_per_worker or device == "cuda":
        share = config.gpus_per_worker or 1.0
        gpus = offered.get("GPU", 0)
        return max(1, int(gpus / share) if share <= 1 else int(gpus // share))
    return max(1, int(offered.get("CPU", 1)) // config.threads)


def pool(
    config: RunConfig, device: str, share: float, workers: int | str | None, accelerator: str | None
) -> Pool:
    """A pool of backbone workers.

    Args:
        config: Settings of the run.
        device: Where they compute.
        share: Share of the cluster's places that is theirs if ``workers`` is not given.
        workers: Number, or ``"MIN:MAX"``.
        accelerator: Kind of accelerator that they must have, as Ray names it.
    """
    places = n_places(config, device)
    default = max(1, round(places * share))
    least, most = worker_range(workers) if workers is not None else (default, default)
    resources: dict[str, Any] = {}
    if config.gpus_per_worker or device == "cuda":
        gpus = ray.cluster_resources().get("GPU", 0)
        each = config.gpus_per_worker or min(1.0, gpus / most)
        resources |= {"num_gpus": each, "num_cpus": TASK_CPUS}
    else:
        cores = ray.cluster_resources().get("CPU", 1)
        resources["num_cpus"] = min(config.threads, cores * share / most) * _BACKBONE_CPUS
    if accelerator:
        resources["accelerator_type"] = accelerator
    return Pool(least, most, resources)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what SIGTERM does: Ray has its own idea of it."""
    kept = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, kept)


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

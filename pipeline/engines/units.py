"""Units of work that need no order: in threads of this process, or on the actors of a cluster."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from pipeline.config import RunConfig, worker_range
from pipeline.streams import ahead
from sess_kernels.errors import SessError

U = TypeVar("U")
R = TypeVar("R")

Build = Callable[[str], Callable[[U], R]]
"""Makes, on a device, what works on units; it is sent to other processes."""


def map_units(
    build: Build[U, R], units: Sequence[U], config: RunConfig
) -> Iterator[tuple[U, R | Exception]]:
    """Each unit and what a worker makes of it, in any order; why, if its worker died each time.

    Args:
        build: Makes a worker.
        units: The units.
        config: Engine, cluster, workers and threads.

    Raises:
        SessError: If the cluster cannot be reached, or there is no GPU where one is asked for.

    Example:
        >>> from pipeline.config import RunConfig
        >>> config = RunConfig(engine="local", device="cpu", workers=2)
        >>> sorted(map_units(lambda device: lambda unit: unit + 1, [1, 2], config))
        [(1, 2), (2, 3)]
    """
    if not units:
        return iter(())
    if config.engine == "ray":
        from pipeline.engines.ray_units import map_on_ray

        return map_on_ray(build, units, config)
    return _map_here(build, units, config)


def _map_here(build: Build[U, R], units: Sequence[U], config: RunConfig) -> Iterator[tuple[U, R]]:
    devices = devices_here(config)[: len(units)]
    idle: queue.SimpleQueue[Callable[[U], R]] = queue.SimpleQueue()
    for device in devices:
        idle.put(build(device))

    def work(unit: U) -> tuple[U, R]:
        torch.set_num_threads(config.threads)  # of this thread
        worker = idle.get()
        try:
            return unit, worker(unit)
        finally:
            idle.put(worker)

    return ahead(work, units, len(devices))


def devices_here(config: RunConfig) -> list[str]:
    """The device of each worker of this process: one for each core, or each GPU.

    Raises:
        SessError: If CUDA is asked for and there is none.
    """
    on_gpu = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    if on_gpu and not torch.cuda.is_available():
        raise SessError("device is cuda but torch sees none here; use --device cpu")
    devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if on_gpu else ["cpu"]
    n_default = len(devices) if on_gpu else max(1, (os.cpu_count() or 1) // config.threads)
    most = worker_range(config.workers)[1] if config.workers is not None else n_default
    return [devices[i % len(devices)] for i in range(most)]

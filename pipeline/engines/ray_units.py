"""Units of work on a Ray cluster: a pool of actors that keep what they have loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import ray

from pipeline.config import RunConfig
from pipeline.engines.cluster import cluster, device_of, pool
from pipeline.engines.units import Build
from sess_kernels.errors import SessError

U = TypeVar("U")
R = TypeVar("R")

_AHEAD = 2  # units of each worker, so that it need not wait for the driver
_TRIES = 1  # more, of a unit whose worker died


class _Worker:
    def __init__(self, build: Build[Any, Any], device: str) -> None:
        self._work: Callable[[Any], Any] = build(device)

    def work(self, unit: Any) -> Any:
        return self._work(unit)


def map_on_ray(
    build: Build[U, R], units: Sequence[U], config: RunConfig
) -> Iterator[tuple[U, R | Exception]]:
    """See ``units.map_units``."""
    with cluster(config):
        device = device_of(config)
        booked = pool(config, device, 1.0, config.workers, config.accelerator)
        kind = ray.remote(max_restarts=-1, max_task_retries=_TRIES, **booked.resources)(_Worker)
        shared = ray.put(build)
        workers = [kind.remote(shared, device) for _ in range(min(booked.least, len(units)))]
        suspects = []
        for unit, found in _each(workers, units, _AHEAD):
            if isinstance(found, Exception):
                suspects.append(unit)  # or one that shared its worker
            else:
                yield unit, found
        yield from _each(workers, suspects, 1)


def _each(workers: list[Any], units: Sequence[U], ahead: int) -> Iterator[tuple[U, Any]]:
    """Each unit and its result, with so many units at a time on each worker."""
    left = list(units)[::-1]
    flying: dict[Any, tuple[Any, U]] = {}

    def send(worker: Any) -> None:
        if left:
            unit = left.pop()
            flying[worker.work.remote(unit)] = worker, unit

    for worker in workers * ahead:
        send(worker)
    while flying:
        [done], _ = ray.wait(list(flying), num_returns=1)
        worker, unit = flying.pop(done)
        send(worker)
        yield unit, _result(done)


def _result(done: Any) -> Any:
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(error.cause, Exception) else error
        raise cause from error
    except ray.exceptions.RayError as error:  # out of memory, a crash, a node with the result
        if isinstance(error, ray.exceptions.RayActorError) and error.actor_init_failed:
            said = str(error).strip().splitlines()[-1]
            raise SessError(f"no worker could start: {said}") from error
        return error

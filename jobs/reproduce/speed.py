"""Seconds of a single query, table 2 of the paper: one image and one class, nothing beside it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch

from jobs.benchmarks.measure import machine, spread
from jobs.reproduce.cases import Case, Row, cases_of, digest_of
from jobs.reproduce.experiment import Experiment
from jobs.reproduce.kept import rows_of
from jobs.reproduce.photographs import Photograph, photographs_of
from jobs.reproduce.settings import Data, ReproduceConfig
from pipeline.engines.units import devices_here
from pipeline.files import Folder
from pipeline.stages import BackboneSpec, kernel

_NONE = Data("photographs of scikit-image", "")


def measure(experiment: Experiment, settings: ReproduceConfig, show: bool) -> Iterator[Row]:
    """Rows of an experiment with ``seconds``: median, and quartiles as its low and high.

    Args:
        experiment: The experiment.
        settings: What was asked for.
        show: Nothing is shown on the way; times would suffer.

    Raises:
        SessError: If a source cannot be read, or settings make no sense.
    """
    out = Folder.of(settings.out)
    for data in settings.sources() or [_NONE]:
        given = None if data is _NONE else data
        photographs, digest = photographs_of(experiment, settings, given)
        for case in cases_of(experiment, settings, data):
            of = [case.key(settings, digest), settings.device, machine("cpu")["device"]]
            find = partial(_found, case, settings, photographs)
            yield from rows_of(case, f"{of[0]}-{digest_of(of)}", out, find)


def _found(
    case: Case, settings: ReproduceConfig, photographs: Sequence[Photograph]
) -> dict[str, dict[str, Any]]:
    config = case.config(settings)
    torch.set_num_threads(config.threads)
    device = devices_here(config)[0]
    explain = kernel(BackboneSpec.of(config).load(device), config)
    times = []
    for number, one in enumerate([photographs[0], *photographs]):
        classes = [one.classes(explain.backbone)]
        began = time.perf_counter()
        explain([one.pixels], classes)
        if device != "cpu":
            torch.cuda.synchronize()
        if number:  # the first is a warm-up
            times.append(time.perf_counter() - began)
    found = spread(times)
    seconds = {"value": found["median"], "low": found["q1"], "high": found["q3"]}
    told = {"images": len(times), "failed": 0, "device": machine(device)["device"]}
    return {"": told | {"figures": {"seconds": seconds}, "mean_seconds": statistics.mean(times)}}

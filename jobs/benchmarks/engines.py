"""Engine ray beside engine local."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from jobs.benchmarks.measure import Row, Setting, spread
from jobs.benchmarks.processes import apart
from pipeline import RunConfig, run
from pipeline.engines import BatchDone
from sess_kernels.errors import SessError

_WARM_UP = 2  # shards a worker: when the first is done, what writes it starts


@dataclass(frozen=True)
class Steady:
    """A part of a run in which there was work for all workers.

    Attributes:
        start: When it began, seconds since the epoch.
        end: When it ended.
        images: Images done meanwhile; of a shard that began or ended outside, its part.
    """

    start: float
    end: float
    images: float

    @property
    def images_per_s(self) -> float:
        """Images a second."""
        return self.images / (self.end - self.start)


def steady(batches: list[BatchDone], warm_up: int = 0) -> Steady:
    """From the first to the last moment with as many shards at work as ever.

    Args:
        batches: What each worker did.
        warm_up: Shards a worker to leave out at the start.

    Raises:
        SessError: If there is no such time.

    Example:
        >>> times = [(0, 4), (2, 6), (4, 8), (6, 10)]
        >>> two = steady([BatchDone(8, 0, 0, "cpu", 4, start, end) for start, end in times])
        >>> (two.start, two.end, two.images_per_s)
        (2, 8, 4.0)
    """
    # at one moment what ends comes before what begins
    events = sorted([(b.finished, -1) for b in batches] + [(b.started, 1) for b in batches])
    working, running = [], 0
    for _, change in events:
        running += change
        working.append(running)
    most = max(working, default=0)
    full = [i for i, running in enumerate(working) if running == most]
    if not most or full[-1] + 1 >= len(events):
        raise SessError("no shard was run; measure more images")
    begun = sorted(b.started for b in batches)[most * warm_up :]
    start, end = max([events[full[0]][0], *begun[:1]]), events[full[-1] + 1][0]
    if start >= end or not begun:
        raise SessError(f"{len(batches)} shards are too few; measure more images")
    return between(batches, start, end)


def between(batches: list[BatchDone], start: float, end: float) -> Steady:
    """What was done from one time to another.

    Example:
        >>> between([BatchDone(8, 0, 0, "cpu", 4, 0, 4)], 1, 3).images_per_s
        2.0
    """
    images = 0.0
    for b in batches:
        inside = min(b.finished, end) - max(b.started, start)
        images += b.images * max(0.0, inside) / (b.finished - b.started)
    return Steady(start, end, images)


def engines(setting: Setting) -> list[Row]:
    """Images per second while all workers are at work, on the same files.

    With a worker for every core Ray's own processes have none left; with one they have.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "images"
        source.mkdir()
        for number, image in enumerate(setting.drawn()):
            Image.fromarray(image).save(source / f"{number:05d}.jpg")
        return [_compared(setting, source, workers) for workers in (None, 1)]


def _compared(setting: Setting, source: Path, workers: int | None) -> Row:
    given: dict[str, Any] = {
        name: getattr(setting, name)
        for name in ("scales", "threads", "batch_size", "device", "backbone")
    }
    rates: dict[str, list[float]] = {"local": [], "ray": []}
    starts: dict[str, list[float]] = {"local": [], "ray": []}
    shards = 0
    for repeat in range(setting.repeats):
        for name, found in rates.items():
            config = RunConfig(engine=name, labels="predicted", workers=workers, **given)
            out = source.parent / f"{name}{repeat}-{workers}"
            # nobody looks on: the sampler of ``watched`` would take time from full cores
            began, batches = apart(timed_run, str(source), out, config)
            phase = steady(batches, _WARM_UP)
            found.append(phase.images_per_s)
            starts[name].append(min(batch.started for batch in batches) - began)
            shards = len(batches)
    quotients = [a / b for a, b in zip(rates["ray"], rates["local"], strict=True)]
    kind = "one worker" if workers else "a worker for every core or GPU"
    return {
        "backbone": setting.backbone,
        "what": f"images/s of engine ray, {kind}, {setting.images} images in {shards} shards",
        "against": "engine local",
        "ratio": spread(quotients),
        "ray_images_per_s": spread(rates["ray"]),
        "local_images_per_s": spread(rates["local"]),
        "ray_start_s": spread(starts["ray"]),
        "local_start_s": spread(starts["local"]),
    }


def timed_run(source: str, out: Path, config: RunConfig) -> tuple[float, list[BatchDone]]:
    """When the engine was started, and every batch of a run."""
    batches: list[BatchDone] = []
    started: list[float] = []
    run(
        source,
        out,
        config,
        on_plan=lambda plan: started.append(time.time()),
        on_batch=batches.append,
    )
    return started[0], batches

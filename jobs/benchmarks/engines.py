"""Engine ray beside engine local and the kernel in one process."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from jobs.benchmarks.measure import Row, Setting, spread
from jobs.benchmarks.processes import apart
from pipeline import RunConfig, run
from pipeline.engines import BatchDone
from sess_kernels import SESS, SESSConfig
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

    With a worker for every core Ray's own processes have none left; with one they have. The kernel
    has no files to read or write, and as many threads as there are workers.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "images"
        source.mkdir()
        for number, image in enumerate(setting.drawn()):
            Image.fromarray(image).save(source / f"{number:05d}.jpg")
        return [row for workers in (None, 1) for row in _compared(setting, source, workers)]


def _compared(setting: Setting, source: Path, workers: int | None) -> list[Row]:
    given: dict[str, Any] = {
        name: getattr(setting, name)
        for name in ("scales", "threads", "batch_size", "device", "backbone")
    }
    rates: dict[str, list[float]] = {"ray": [], "local": [], "kernel": []}
    starts: dict[str, list[float]] = {"ray": [], "local": []}
    shards = 0
    for repeat in range(setting.repeats):
        for name, found in starts.items():
            config = RunConfig(engine=name, labels="predicted", workers=workers, **given)
            out = source.parent / f"{name}{repeat}-{workers}"
            # nobody looks on: the sampler of ``watched`` would take time from full cores
            began, batches = apart(timed_run, str(source), out, config)
            rates[name].append(steady(batches, _WARM_UP).images_per_s)
            found.append(min(batch.started for batch in batches) - began)
            shards = len(batches)
        threads = setting.threads * (workers or os.cpu_count() or 1)
        rates["kernel"].append(apart(_kernel, setting, threads))
    kind = "one worker" if workers else "a worker for every core or GPU"
    rivals = {"local": "engine local", "kernel": "SESS called once in one process, as many threads"}
    return [
        {
            "backbone": setting.backbone,
            "what": f"images/s of engine ray, {kind}, {setting.images} images in {shards} shards",
            "against": against,
            "ratio": spread([a / b for a, b in zip(rates["ray"], rates[name], strict=True)]),
            "ray_images_per_s": spread(rates["ray"]),
            f"{name}_images_per_s": spread(rates[name]),
            "ray_start_s": spread(starts["ray"]),
            **({"local_start_s": spread(starts["local"])} if name == "local" else {}),
        }
        for name, against in rivals.items()
    ]


def _kernel(setting: Setting, threads: int) -> float:
    """Images a second of one call, after one that warms up."""
    torch.set_num_threads(threads)
    config = SESSConfig(scales=setting.scales)
    explain = SESS(setting.load(), config=config, batch_size=setting.batch_size)
    images = setting.drawn()
    explain(images[:_WARM_UP], [None] * _WARM_UP)
    began = time.perf_counter()
    explain(images, [None] * len(images))
    return len(images) / (time.perf_counter() - began)


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

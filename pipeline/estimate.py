"""What a planned run will take: counts of the plan, and costs measured on its first images."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from pipeline.config import RunConfig
from pipeline.files import Folder
from pipeline.layout import PLAN_FOLDER
from pipeline.records import OK
from pipeline.scheduler import Plan, read_plan
from pipeline.sinks import EncodeWorker
from pipeline.stages import BackboneSpec, DecodeWorker, SaliencyWorker, kernel
from sess_kernels.footprint import Footprint, footprint

_SECONDS = 5.0  # of calibration, or one image
_IMAGES = 16


@dataclass(frozen=True)
class Estimate:
    """Counts of a plan and what they will take.

    Attributes:
        images: Rows of the plan.
        failed: Rows that cannot be explained.
        patches: Patches to score.
        kept: Patches that the pre-filter will keep, each class by itself.
        shards: Shards of the plan.
        device: What the calibration ran on.
        sampled: Images that it took; 0 if none could be read.
        ms_per_patch: Milliseconds of a backbone worker, all that it does divided by its patches.
        ms_per_image: Milliseconds of a core to decode an image and to encode its maps.
        device_hours: Hours of one backbone worker on ``device``.
        core_hours: Hours of one core for the rest.
        bytes: Bytes of the maps as they are stored in the rows.
        batch_size: Patches of a device batch.
        device_memory: Bytes on the device that a backbone worker takes at least; on a CPU, bytes of
            its process beside what it starts with.
        footprint: What they are taken for.
        device_free: Bytes of the GPU that were free; nothing on a CPU.
    """

    images: int
    failed: int
    patches: int
    kept: int
    shards: int
    device: str
    sampled: int
    ms_per_patch: float
    ms_per_image: float
    device_hours: float
    core_hours: float
    bytes: int
    batch_size: int
    device_memory: int
    footprint: Footprint
    device_free: int | None

    def hours(self, workers: int) -> float:
        """Hours until the end with so many backbone workers, if nothing else holds them up."""
        return self.device_hours / workers

    @property
    def fits(self) -> bool:
        """Whether a worker's memory was free on the device, as far as that is known."""
        return self.device_free is None or self.device_memory <= self.device_free

    def to_dict(self) -> dict[str, Any]:
        """The estimate ready for JSON."""
        return asdict(self)


def estimate(out: Folder, plan: Plan, config: RunConfig) -> Estimate:
    """Measure on the first images of a plan what the whole will take.

    Args:
        out: Folder of the run.
        plan: Its plan.
        config: Its settings.

    Raises:
        SessError: If the backbone cannot be loaded.
    """
    totals = _totals(out, plan, config)
    on_gpu = torch.cuda.is_available() and config.device != "cpu"
    free = torch.cuda.mem_get_info()[0] if on_gpu else None
    backbone = BackboneSpec.of(config).load("cuda" if on_gpu else "cpu")
    explain = kernel(backbone, replace(config, runtime="torch"))  # nothing else is measured
    memory, batch_size = footprint(explain, totals.sizes, totals.n_classes), explain.batch_size
    del explain
    spent = _calibrate(out, plan, SaliencyWorker(backbone, config))
    per_patch = spent.kernel / max(spent.patches, 1)
    per_image = spent.rest / max(spent.images, 1)
    per_pixel = spent.bytes / max(spent.pixels, 1)
    good = plan.n_images - plan.n_failed
    return Estimate(
        images=plan.n_images,
        failed=plan.n_failed,
        patches=plan.n_patches,
        kept=totals.kept,
        shards=plan.n_shards,
        device=torch.cuda.get_device_name() if on_gpu else "cpu",
        sampled=spent.images,
        ms_per_patch=1e3 * per_patch,
        ms_per_image=1e3 * per_image,
        device_hours=per_patch * plan.n_patches / 3600,
        core_hours=per_image * good / 3600,
        bytes=int(per_pixel * totals.map_pixels),
        batch_size=batch_size,
        device_memory=memory.total,
        footprint=memory,
        device_free=free,
    )


@dataclass
class _Totals:
    """What the rows of a plan add up to.

    Attributes:
        kept: Patches that will be kept.
        map_pixels: Pixels of all maps.
        n_classes: The most classes of an image.
        largest: Height and width of the largest image.
        fullest: Those of each image of the shard with the most patches.
        most: These patches.
    """

    kept: int = 0
    map_pixels: int = 0
    n_classes: int = 1
    largest: tuple[int, int] = (0, 0)
    fullest: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    most: int = 0

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Images of a call that takes about what the largest one of the run does."""
        found = [(int(height), int(width)) for height, width in self.fullest]
        return found if self.largest in found or not found else [*found, self.largest]


def _totals(out: Folder, plan: Plan, config: RunConfig) -> _Totals:
    """Sums over the rows of a plan, and what its largest call will be."""
    found = _Totals()
    columns = ["shard", "labels", "height", "width", "n_patches"]
    for rows in read_plan(out / PLAN_FOLDER, plan.files, columns):
        rows = rows.filter(pc.greater(rows["n_patches"], 0))
        if not rows.num_rows:
            continue
        patches, classes = rows["n_patches"].to_numpy(), _classes(rows, config)
        counts, where = np.unique(patches, return_inverse=True)
        each = np.array([config.kept(int(count)) for count in counts])
        found.kept += int((each[where] * classes).sum())
        sides = np.column_stack([rows["height"], rows["width"]]).astype(np.int64)
        areas = sides.prod(1)
        found.map_pixels += int((areas * classes).sum())
        found.n_classes = max(found.n_classes, int(classes.max()))
        largest = sides[areas.argmax()]
        found.largest = max(found.largest, (int(largest[0]), int(largest[1])), key=math.prod)
        _find_fullest(found, rows["shard"].to_numpy(), patches, sides)
    return found


def _find_fullest(
    found: _Totals,
    shards: NDArray[np.int32],
    patches: NDArray[np.int32],
    sides: NDArray[np.int64],
) -> None:
    """The shard of the most patches; a file of the plan has all of each of its shards."""
    filled = np.bincount(shards - shards[0], patches)
    if filled.max() > found.most:
        found.most = int(filled.max())
        found.fullest = sides[shards - shards[0] == filled.argmax()]


def _classes(rows: pa.Table, config: RunConfig) -> NDArray[np.int64]:
    counts = pc.fill_null(pc.list_value_length(rows["labels"]), config.top_k)
    classes: NDArray[np.int64] = counts.to_numpy().astype(np.int64)
    return classes


@dataclass
class _Spent:
    """Seconds of the kernel and of the rest; what they made."""

    kernel: float = 0.0
    rest: float = 0.0
    images: int = 0
    patches: int = 0
    pixels: int = 0
    bytes: int = 0


def _calibrate(out: Folder, plan: Plan, worker: SaliencyWorker) -> _Spent:
    """The first images of a plan: one, and then as many together as the time allows."""
    rows = next(read_plan(out / PLAN_FOLDER, plan.files[:1]))
    good = rows.filter(pc.is_null(rows["error"]))
    if not good.num_rows:
        return _Spent()
    alone = _spend(out, good.slice(0, 1), worker)
    time_for = int(_SECONDS / max(alone.kernel + alone.rest, 1e-9))
    together = good.slice(0, min(_IMAGES, time_for))
    return _spend(out, together, worker) if together.num_rows > 1 else alone


def _spend(out: Folder, rows: pa.Table, worker: SaliencyWorker) -> _Spent:
    config = worker.config
    decode = DecodeWorker(config.max_pixels)
    encode = EncodeWorker(out, ("parquet",), config.map_dtype, map_stride=config.map_stride)
    times = [time.perf_counter()]
    for stage in (decode, worker, encode):
        rows = stage(rows)
        times.append(time.perf_counter())
    ok = rows.filter(pc.equal(rows["status"], OK))
    images = ok.to_pylist()
    return _Spent(
        kernel=times[2] - times[1],
        rest=times[1] - times[0] + times[3] - times[2],
        images=ok.num_rows,
        patches=pc.sum(ok["n_patches"]).as_py() or 0,
        pixels=sum(one["height"] * one["width"] * len(one["targets"]) for one in images),
        bytes=sum(len(of["map"]["bytes"]) for one in images for of in one["targets"]),
    )

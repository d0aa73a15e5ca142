"""A run from source to OUT: check, plan, run the stages, record."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pipeline.config import RunConfig
from pipeline.engines import BatchDone, Job, OnBatch, engine
from pipeline.files import atomic_write
from pipeline.labels import LabelResolver, attach
from pipeline.read import MAPS_FOLDER
from pipeline.records import SourceRow
from pipeline.scheduler import Plan, plan_rows, write_plan
from pipeline.sinks import NPY_FOLDER
from pipeline.sources import open_source, read_labels
from pipeline.stages import BackboneSpec
from sess_kernels import Backbone
from sess_kernels.errors import SessError, one_line
from sess_kernels.saliency import base_method

RUN_FILE = "run.json"
PLAN_FOLDER = "plan"
_PACKAGES = ("sess-pipeline", "torch", "torchvision", "timm", "ray", "pyarrow", "numpy", "pillow")


@dataclass
class Summary:
    """Counts and times of a run.

    Attributes:
        images: Rows written.
        failed: Rows of them with an error.
        patches: Patches scored.
        plan_s: Seconds to check, list and plan.
        run_s: Seconds of the engine, its start included.
        steady_s: Seconds from the first batch's start to the last one's end.
        device: Kind of device the backbone workers ran on.
        batch_size: Patches of a device batch.
    """

    images: int = 0
    failed: int = 0
    patches: int = 0
    plan_s: float = 0.0
    run_s: float = 0.0
    steady_s: float = 0.0
    device: str = ""
    batch_size: int = 0
    _first: float = field(default=float("inf"), repr=False)

    def add(self, done: BatchDone) -> None:
        """Count a finished batch."""
        self.images += done.images
        self.failed += done.failed
        self.patches += done.patches
        self.device, self.batch_size = done.device, done.batch_size
        self._first = min(self._first, done.started)
        self.steady_s = max(self.steady_s, done.finished - self._first)

    def to_dict(self) -> dict[str, Any]:
        """The counts, times and rates by name."""
        counts = {k: v for k, v in asdict(self).items() if not k.startswith("_")}
        per_second = 1 / self.steady_s if self.steady_s else 0.0
        return counts | {
            "images_per_s": self.images * per_second,
            "patches_per_s": self.patches * per_second,
        }


def run(
    source: str,
    out: str | Path,
    config: RunConfig | None = None,
    *,
    overwrite: bool = False,
    on_plan: Callable[[Plan], None] = lambda plan: None,
    on_batch: OnBatch = lambda done: None,
) -> Summary:
    """Turn a source into class saliency maps.

    Args:
        source: ``KIND:PATH``, or a path whose kind is guessed.
        out: Folder for plan, maps and ``run.json``.
        config: Settings of the run.
        overwrite: Replace an earlier run in ``out``.
        on_plan: Told of the plan before the engine starts.
        on_batch: Told of every finished batch, from any thread.

    Returns:
        Counts and times; ``failed`` rows are written with their reason.

    Raises:
        SessError: If the configuration or the input is bad; nothing has been run then.

    Example:
        >>> run("nowhere", "out", RunConfig(engine="local"))
        Traceback (most recent call last):
        ...
        sess_kernels.errors.SessError: folder nowhere does not exist; give a folder of images ...
    """
    config = config or RunConfig()
    began = time.perf_counter()
    rows = iter(_rows(source, config))
    base_method(config.method)
    backbone = BackboneSpec.of(config).load()
    folder = _prepare(Path(out), overwrite)
    plan = _plan(rows, config, backbone, folder)
    summary = Summary(plan_s=time.perf_counter() - began)
    on_plan(plan)
    record = _record(source, config, backbone, plan)
    _write_record(folder, record | {"state": "running"})

    def count(done: BatchDone) -> None:
        summary.add(done)
        on_batch(done)

    began = time.perf_counter()
    engine(config.engine)(Job(config, plan, folder), count)
    summary.run_s = time.perf_counter() - began
    _write_record(folder, record | {"state": "complete", "summary": summary.to_dict()})
    return summary


def _rows(source: str, config: RunConfig) -> Iterator[SourceRow]:
    """Rows of the source with the labels that the run asks for; faults before the first row."""
    rows = open_source(source)
    first = next(rows, None)
    if first is None:
        raise SessError(f"{source} lists no image; is it the right one?")
    if config.labels == "given" and first.labels is None:
        raise SessError(
            f"{source} carries no labels; run with --labels predicted or --labels FILE.csv"
        )
    whole = _chain(first, rows)
    if config.labels not in ("given", "predicted"):
        whole = attach(whole, read_labels(config.labels), config.labels)
    return whole if config.limit is None else _first(whole, config.limit)


def _chain(first: SourceRow, rows: Iterator[SourceRow]) -> Iterator[SourceRow]:
    yield first
    yield from rows


def _first(rows: Iterator[SourceRow], limit: int) -> Iterator[SourceRow]:
    """The first rows; the rest is read too, so that its faults are found."""
    for number, row in enumerate(rows):
        if number < limit:
            yield row


def _plan(rows: Iterator[SourceRow], config: RunConfig, backbone: Backbone, folder: Path) -> Plan:
    predicted = config.labels == "predicted"
    resolve = None if predicted else LabelResolver(backbone.class_names, backbone.name)
    planned = plan_rows(rows, resolve, config, backbone.input_size)
    return write_plan(planned, folder / PLAN_FOLDER)


def _prepare(out: Path, overwrite: bool) -> Path:
    """Make OUT ready to be written to, without what an earlier run left if it may go."""
    out = out.absolute()
    earlier = out / RUN_FILE
    if out.is_dir() and any(out.iterdir()) and not earlier.exists():
        raise SessError(f"{out} is not empty and holds no run; give another --out")
    if earlier.exists() and not overwrite:
        raise SessError(f"{out} already holds a run; give another --out, or --overwrite")
    try:
        for name in (MAPS_FOLDER, NPY_FOLDER, PLAN_FOLDER):
            shutil.rmtree(out / name, ignore_errors=True)
        (out / MAPS_FOLDER).mkdir(parents=True, exist_ok=True)
        (out / MAPS_FOLDER / ".writable").touch()
        (out / MAPS_FOLDER / ".writable").unlink()
    except OSError as error:
        raise SessError(
            f"--out {out} cannot be written: {error.strerror or one_line(error)}; "
            "give a folder that you may write to"
        ) from error
    return out


def _record(source: str, config: RunConfig, backbone: Backbone, plan: Plan) -> dict[str, Any]:
    return {
        "source": source,
        "config": asdict(config),
        "resolved": {
            "backbone": backbone.name,
            "target_layer": backbone.target_layer,
            "preprocessing": asdict(backbone.preprocessing),
            "window_size": config.for_input(backbone.input_size).window_size,
        },
        "dataset": {
            "images": plan.n_images,
            "patches": plan.n_patches,
            "shards": len(plan.shards),
            "fingerprint": plan.fingerprint,
        },
        "versions": {name: version(name) for name in _PACKAGES}
        | {"python": platform.python_version(), "torch": torch.__version__},
        "git_revision": _git_revision(),
        "command": sys.argv,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _write_record(out: Path, record: dict[str, Any]) -> None:
    with atomic_write(out / RUN_FILE) as file:
        file.write(json.dumps(record, indent=1).encode() + b"\n")


def _git_revision() -> str | None:
    """Revision of the working copy this package runs from, if it does."""
    here = Path(__file__).resolve().parents[1]
    if not (here / ".git").exists():
        return None
    try:
        said = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()

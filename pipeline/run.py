"""A run from source to OUT: check, plan, run the stages, record."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from pipeline.config import RunConfig
from pipeline.engines import BatchDone, Job, OnBatch, engine
from pipeline.files import atomic_write
from pipeline.labels import LabelResolver, attach
from pipeline.read import MAPS_FOLDER
from pipeline.records import FAILED, RESULT_SCHEMA, SourceRow
from pipeline.scheduler import Plan, PlannedRow, plan_rows, write_plan
from pipeline.sinks import NPY_FOLDER
from pipeline.sources import open_source, read_labels
from pipeline.stages import BackboneSpec
from pipeline.summary import Summary
from sess_kernels import Backbone
from sess_kernels.checks import check
from sess_kernels.errors import SessError, one_line
from sess_kernels.saliency import base_method

RUN_FILE = "run.json"
PLAN_FOLDER = "plan"
_PACKAGES = ("sess-pipeline", "torch", "torchvision", "timm", "ray", "pyarrow", "numpy", "pillow")


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
    method = base_method(config.method, config.method_options)
    spec = BackboneSpec.of(config)
    backbone = spec.load()
    check(backbone, method, config.precision, config.batch_size)
    folder = Path(out).absolute()
    _check(folder, overwrite)
    planned = _planned(rows, config, backbone)  # faults of the input end the run here
    _write_record(folder, {"source": source, "config": asdict(config), "state": "planning"})
    _clear(folder)
    plan = write_plan(planned, folder / PLAN_FOLDER)
    summary = Summary(plan_s=time.perf_counter() - began)
    on_plan(plan)
    record = _record(source, config, backbone, plan)
    record["resolved"]["class_groups"] = spec.class_groups
    _write_record(folder, record | {"state": "running"})

    def count(done: BatchDone) -> None:
        summary.add(done)
        on_batch(done)

    began = time.perf_counter()
    engine(config.engine)(Job(config, spec, plan, folder), count)
    summary.run_s = time.perf_counter() - began
    _count_rows(folder, plan, summary)
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


def _planned(rows: Iterator[SourceRow], config: RunConfig, backbone: Backbone) -> list[PlannedRow]:
    predicted = config.labels == "predicted"
    resolve = None if predicted else LabelResolver(backbone.class_names, backbone.name)
    return list(plan_rows(rows, resolve, config, backbone.input_size))


def _check(out: Path, overwrite: bool) -> None:
    """Refuse an OUT that may not be written to, and leave what is in it alone."""
    with _writing(out):
        earlier = (out / RUN_FILE).exists()
        if earlier and not overwrite:
            raise SessError(f"{out} already holds a run; give another --out, or --overwrite")
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()) and not earlier:
            raise SessError(f"{out} is not empty and holds no run; give another --out")
        with tempfile.TemporaryFile(dir=out):
            pass


def _clear(out: Path) -> None:
    """Remove the maps and the plan of an earlier run."""
    with _writing(out):
        for name in (MAPS_FOLDER, NPY_FOLDER, PLAN_FOLDER):
            if (out / name).exists():
                shutil.rmtree(out / name)
        (out / MAPS_FOLDER).mkdir()


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SessError(
            f"--out {out} cannot be written: {error.strerror or one_line(error)}; "
            "give a folder that you may write to"
        ) from error


def _count_rows(out: Path, plan: Plan, summary: Summary) -> None:
    """Take the counts from what is written: messages of workers may be lost or come twice.

    Raises:
        SessError: If rows of the plan are missing.
    """
    files = sorted((out / MAPS_FOLDER).glob("*.parquet"))
    tables = [pq.read_table(file, columns=["status", "n_patches"]) for file in files]
    written = pa.concat_tables(tables) if tables else RESULT_SCHEMA.empty_table()
    summary.images = written.num_rows
    summary.failed = pc.sum(pc.equal(written["status"], FAILED)).as_py() or 0
    summary.patches = pc.sum(written["n_patches"]).as_py() or 0
    if summary.images != plan.n_images:
        raise SessError(
            f"{out} has {summary.images} of {plan.n_images} planned rows; "
            "run again with --overwrite, and report it if it happens twice"
        )


def _record(source: str, config: RunConfig, backbone: Backbone, plan: Plan) -> dict[str, Any]:
    return {
        "source": source,
        "config": asdict(config),
        "resolved": {
            "backbone": backbone.name,
            "target_layer": backbone.target_layer,
            "preprocessing": asdict(backbone.preprocessing),
            "window_size": config.for_input(backbone.input_size).window_size,
            "method": asdict(base_method(config.method, config.method_options)),  # type: ignore[call-overload]
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

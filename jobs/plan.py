"""``sess plan``: what a run would do, and what it would take."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from jobs.listed import left_out
from jobs.run import Flag
from pipeline import RunConfig
from pipeline import plan as plan_pipeline
from pipeline.estimate import Estimate, estimate
from pipeline.files import Folder


def plan(
    source: str,
    /,
    *,
    out: str,
    settings: Annotated[RunConfig, Parameter(name="*")] | None = None,
    config: Path | None = None,
    overwrite: Flag = False,
    json: Flag = False,
) -> int:
    """Plan the images of SOURCE in OUT and estimate what the run will take; `sess run` goes on.

    Example: sess plan photos --labels predicted --scales 10 --out maps

    Args:
        source: As in `sess run`.
        out: Folder for the plan; the maps of `sess run` go there too.
        settings: Settings of the run.
        config: YAML file with any of these settings; flags win.
        overwrite: Replace an earlier run in OUT.
        json: Print JSON.
    """
    given = settings or RunConfig()
    planned = plan_pipeline(source, out, given, overwrite=overwrite)
    found = estimate(Folder.of(out), planned, given)
    if json:
        counts = {"missing": planned.n_missing, "listed": planned.listed, "out": out}
        print(json_.dumps(found.to_dict() | counts))
    else:
        _show(found, out)
        for line in left_out(planned):
            print(f"note: {line}")
    return 0


def _show(found: Estimate, out: str) -> None:
    table = Table(title="sess plan", title_justify="left", show_header=False)
    failed = f" ({found.failed} cannot be explained)" if found.failed else ""
    table.add_row("images", f"{found.images:,}{failed}")
    table.add_row("patches", f"{found.patches:,}, {found.kept:,} kept by the pre-filter")
    table.add_row("shards", f"{found.shards:,}")
    on_cpu = found.device == "cpu"
    table.add_row("memory of a worker" if on_cpu else "device memory", _memory(found))
    if found.sampled:
        measured = f"measured on {found.sampled} images on {found.device}"
        table.add_row("a patch", f"{found.ms_per_patch:.2f} ms, {measured}")
        table.add_row("time", _times(found))
        cores = f"{found.ms_per_image:.1f} ms an image, {found.core_hours:.3g} core-hours"
        table.add_row("decode, encode", cores)
        table.add_row("maps", f"{_size(found.bytes)} in {out}")
    else:
        table.add_row("time", "unknown: no image could be explained")
    Console().print(table)


def _memory(found: Estimate) -> str:
    parts, on_gpu = found.footprint, found.device_free is not None
    told = (
        f"at least {_size(found.device_memory)} {'a worker' if on_gpu else 'beside its start'}: "
        f"weights {_size(parts.weights)}, forward of {found.batch_size} patches "
        f"{_size(parts.forward)}, kept patches and features {_size(parts.kept)}, "
        f"images and maps {_size(parts.images)}"
    )
    if found.device_free is None:
        return told
    if found.fits:
        return f"{told}; {_size(found.device_free)} are free"
    told = f"{told}; more than the {_size(found.device_free)} that are free"
    if found.batch_size == 1:
        return f"{told}: no device batch is smaller, take a GPU with more memory"
    return f"{told}: give a smaller device batch, --batch-size {found.batch_size // 2} say"


def _times(found: Estimate) -> str:
    walls = ", ".join(f"{_duration(found.hours(n))} with {n}" for n in (1, 2, 8))
    workers = "workers" if found.device == "cpu" else "GPUs"
    return f"{walls} {workers} ({found.device_hours:.3g} worker-hours)"


def _duration(hours: float) -> str:
    seconds = 3600 * hours
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"

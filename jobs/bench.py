"""``sess bench``: what the product costs beside what it cannot do without."""

from __future__ import annotations

import json as json_
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from jobs.benchmarks import BENCHMARKS, Row, Setting, machine
from sess_kernels.errors import SessError, unknown

_DEFAULT = ("forwards", "rivals", "methods", "references", "memory")
_OF_NO_BACKBONE = ("memory", "references", "plan", "overhead", "driver")  # never asked which


def bench(
    *,
    what: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = _DEFAULT,
    backbone: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ("lite0",),
    device: str = "cpu",
    scales: int = 10,
    images: int = 1,
    repeats: int = 5,
    threads: int = 1,
    batch_size: int | None = None,
    source: str | None = None,
    rows: int = 1_000_000,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Measure ratios side by side in one run.

    Example: sess bench --what forwards rivals --backbone lite0 torchvision/resnet50

    Args:
        what: forwards (SESS beside its bare forwards), rivals (other libraries' Grad-CAM), methods
            (Guided-BP and Group-CAM beside their passes), references (base methods beside other
            libraries'), memory (of fusion), precision (fp32 beside fast, on --source), engines
            (ray beside local), overhead (CPU that ray adds), scaleout (many workers that sleep),
            driver (memory of ray's, of --rows), plan (rows a second and memory, of --rows).
        backbone: Backbones, as in `sess run`; torchvision and timm ones get random weights.
        device: cpu or cuda.
        scales: Number of scales.
        images: Drawn images of 227x227 pixels in each measurement; photographs of --source.
        repeats: Measurements; rivals alternate.
        threads: CPU threads of a backbone worker.
        batch_size: Patches of a device batch.
        source: Photographs for `precision`, as in `sess run`.
        rows: Rows of the table for `plan` and `driver`.
        out: File for the JSON.
        json: Print JSON, not a table.
    """
    _check(what, device, (scales, images, repeats, threads, rows))
    torch.set_num_threads(threads)
    given = Setting("", device, scales, images, repeats, threads, batch_size, source, rows)
    found: list[Row] = []
    for name in what:
        for one in backbone[:1] if name in _OF_NO_BACKBONE else backbone:
            found += BENCHMARKS[name](replace(given, backbone=one))
            print(f"measured {name} {one}", file=sys.stderr)
    setting = {"scales": scales, "images": images, "threads": threads, "batch_size": batch_size}
    result = {"machine": machine(device), "setting": setting, "rows": found}
    if json:
        print(json_.dumps(result, indent=1))
    else:
        _show(found)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json_.dumps(result, indent=1) + "\n")
    return 0


def _check(what: tuple[str, ...], device: str, counts: tuple[int, ...]) -> None:
    for name in what:
        if name not in BENCHMARKS:
            raise SessError(unknown("benchmark", name, BENCHMARKS))
    if min(counts) < 1:
        raise SessError("images, repeats, scales, threads and rows must be at least 1")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SessError("device is cuda but torch sees none; use --device cpu")


def _show(rows: list[Row]) -> None:
    table = Table(title="sess bench", title_justify="left")
    for heading in ("backbone", "what", "against"):
        table.add_column(heading)
    for heading in ("ratio", "quartiles", "ms/patch", "against"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        ratio = row.get("ratio")  # none where there is no rival
        middle = f"{ratio['median']:.3f}" if ratio else ""
        spread = f"{ratio['q1']:.3f} - {ratio['q3']:.3f}" if ratio else ""
        times = [f"{row[name]:.2f}" if name in row else "" for name in _TIMES]
        more = "".join(said.format(row[name]) for name, said in _MORE.items() if name in row)
        table.add_row(
            row["backbone"], row["what"] + more, row.get("against", ""), middle, spread, *times
        )
    console = Console()
    console.width = max(console.width, _WIDTH)  # a file or a pipe has none of its own
    console.print(table)


_TIMES = ("ms_per_patch", "against_ms_per_patch")
_MORE = {
    "same_kept_set": " (same patches {:.1%}",
    "same_map": ", same map {:.1%})",
    "rows_per_s": ": {0[median]:,.0f} rows/s",
    "cpu_ms_per_image": ": {0[median]:.2f} ms",
    "images_per_s": ": {:.1f} images/s",
    "cores_used": ", {:.2f} cores used",
    "growth_mb_per_1000_shards": ", growing by {:.1f} MB in 1,000 shards",
    "peak_growth_mb": ", memory grows by {:.0f} MB",
    "peak_mb": " (peak {:.1f} MB)",
}
_WIDTH = 150

"""The result of an experiment: JSON with its command and machine, and the table beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jobs.benchmarks.measure import machine
from jobs.reproduce.cases import Row
from jobs.reproduce.experiment import Experiment
from jobs.reproduce.settings import ReproduceConfig
from pipeline import RunConfig
from pipeline.engines.units import devices_here
from pipeline.files import Folder

_PACKAGES = ("sess-pipeline", "torch", "torchvision", "timm", "ray")
_CPUINFO = Path("/proc/cpuinfo")  # Linux; Python has no name of a CPU there

Result = dict[str, Any]
"""What an experiment came to: ``rows``, ``pictures``, and where, when and how."""


def new_result(experiment: Experiment, settings: ReproduceConfig, rows: Sequence[Row]) -> Result:
    """A result of rows, made here and now.

    Args:
        experiment: The experiment.
        settings: What was asked for.
        rows: Its rows.
    """
    device = "auto" if settings.device == "cuda" else settings.device  # GPUs may be elsewhere
    about = machine(devices_here(RunConfig(device=device))[0])
    about["versions"] = {name: version(name) for name in _PACKAGES}
    if about["device"] == "cpu":
        about["device"] = _cpu()
    return {
        "what": experiment.name,
        "title": experiment.title,
        "paper": experiment.paper,
        "note": experiment.note,
        "tolerance": experiment.tolerance,
        "command": settings.command(experiment.name),
        "seed": experiment.seed,
        "machine": about | {"threads": settings.threads},
        "date": datetime.now(UTC).date().isoformat(),
        "rows": list(rows),
        "pictures": [row["picture"] for row in rows if "picture" in row],
    }


def write_result(result: Result, table: str, out: Folder) -> None:
    """Write ``WHAT.json`` and ``WHAT.md``."""
    out.create()
    out.write(f"{result['what']}.json", json.dumps(result, indent=1).encode() + b"\n")
    out.write(f"{result['what']}.md", table.encode())


def _cpu() -> str:
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "cpu")

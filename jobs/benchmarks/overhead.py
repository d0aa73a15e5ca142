"""CPU that engine ray adds to an image, whatever its backbone costs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from jobs.benchmarks.measure import Row, Setting, spread
from jobs.benchmarks.processes import watched
from jobs.benchmarks.standin import feign_gpus, write_images

_SIDE = 408  # pixels: 0.5 MB of RGB
_FEW, _MANY = 500, 6500
_KINDS: dict[str, dict[str, Any]] = {
    "local": {"engine": "local"},
    "ray": {"engine": "ray"},
    "ray_apart": {"engine": "ray", "gpus_per_worker": 1.0},
}
_WHAT = {
    "ray": "its stages in one process, as on CPUs",
    "ray_apart": "its stages in processes of their own, as beside a GPU",
}


def overhead(setting: Setting) -> list[Row]:
    """Milliseconds of CPU of all processes for an image, without what a run costs by itself.

    The backbone does nothing and files are not compressed, so little but the engine is left.
    """
    costs: dict[str, list[float]] = {kind: [] for kind in ("local", *_WHAT)}
    with tempfile.TemporaryDirectory() as folder:
        tables = [write_images(Path(folder), n_rows, _SIDE, ".bmp") for n_rows in (_FEW, _MANY)]
        for repeat in range(setting.repeats):
            for kind, found in costs.items():
                spent = []
                for table in tables:
                    out = Path(folder) / f"{kind}{repeat}-{table.stem}"
                    _, uses = watched(_run, table, out, kind)
                    spent.append(uses[-1].cpu_s)
                found.append(1e3 * (spent[1] - spent[0]) / (_MANY - _FEW))
    return [_row(kind, costs[kind], costs["local"]) for kind in _WHAT]


def _row(kind: str, ray: list[float], local: list[float]) -> Row:
    added = [one - other for one, other in zip(ray, local, strict=True)]
    return {
        "backbone": "none",
        "what": f"CPU of an image of {_SIDE}x{_SIDE} that engine ray adds, {_WHAT[kind]}",
        "cpu_ms_per_image": spread(added),
        "ray_cpu_ms_per_image": spread(ray),
        "local_cpu_ms_per_image": spread(local),
        "images": [_FEW, _MANY],
    }


def _run(table: Path, out: Path, kind: str) -> None:
    from pipeline import RunConfig, run

    if "gpus_per_worker" in _KINDS[kind]:  # which this machine need not have
        feign_gpus(1, cpus=os.cpu_count() or 1)
    backbone = "jobs.benchmarks.standin:noop"
    run(
        f"table:{table}",
        out,
        RunConfig(backbone=backbone, scales=1, device="cpu", **_KINDS[kind]),
    )

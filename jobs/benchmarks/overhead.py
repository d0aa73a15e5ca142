"""CPU that engine ray adds to an image, whatever its backbone costs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from jobs.benchmarks.measure import Row, Setting, spread
from jobs.benchmarks.processes import watched
from jobs.benchmarks.standin import write_images

_SIDE = 361  # pixels: 0.5 MB of map, as float32
_FEW, _MANY = 500, 6500


def overhead(setting: Setting) -> list[Row]:
    """Milliseconds of CPU of all processes for an image, without what a run costs by itself.

    The backbone does nothing, images and maps are not compressed, so little but the engine is left.
    """
    costs: dict[str, list[float]] = {"local": [], "ray": []}
    with tempfile.TemporaryDirectory() as folder:
        tables = [write_images(Path(folder), n_rows, _SIDE, ".bmp") for n_rows in (_FEW, _MANY)]
        for repeat in range(setting.repeats):
            for engine, found in costs.items():
                spent = []
                for table in tables:
                    out = Path(folder) / f"{engine}{repeat}-{table.stem}"
                    _, uses = watched(_run, table, out, engine)
                    spent.append(uses[-1].cpu_s)
                found.append(1e3 * (spent[1] - spent[0]) / (_MANY - _FEW))
    added = [ray - local for ray, local in zip(costs["ray"], costs["local"], strict=True)]
    return [
        {
            "backbone": "none",
            "what": f"CPU of a float32 map of {_SIDE}x{_SIDE} that engine ray adds on CPUs",
            "cpu_ms_per_image": spread(added),
            "ray_cpu_ms_per_image": spread(costs["ray"]),
            "local_cpu_ms_per_image": spread(costs["local"]),
            "images": [_FEW, _MANY],
        }
    ]


def _run(table: Path, out: Path, engine: str) -> None:
    from pipeline import RunConfig, run

    backbone = "jobs.benchmarks.standin:noop"
    config = RunConfig(
        engine=engine, backbone=backbone, scales=1, device="cpu", map_dtype="float32"
    )
    run(f"table:{table}", out, config)

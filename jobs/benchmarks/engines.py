"""Engine ray beside engine local."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from jobs.benchmarks.measure import Row, Setting, spread


def engines(setting: Setting) -> list[Row]:
    """Images per second after start-up on the same files."""
    from pipeline import RunConfig, run

    given: dict[str, Any] = {
        name: getattr(setting, name)
        for name in ("scales", "threads", "batch_size", "device", "backbone")
    }
    rates: dict[str, list[float]] = {"local": [], "ray": []}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "images"
        source.mkdir()
        for number, image in enumerate(setting.drawn()):
            Image.fromarray(image).save(source / f"{number:05d}.jpg")
        for repeat in range(setting.repeats):
            for name, found in rates.items():
                config = RunConfig(engine=name, labels="predicted", **given)
                summary = run(str(source), Path(folder) / f"{name}{repeat}", config)
                found.append(summary.to_dict()["images_per_s"])
    quotients = [a / b for a, b in zip(rates["ray"], rates["local"], strict=True)]
    return [
        {
            "backbone": setting.backbone,
            "what": f"images/s of engine ray, {setting.images} images",
            "against": "engine local",
            "ratio": spread(quotients),
            "ray_images_per_s": spread(rates["ray"]),
            "local_images_per_s": spread(rates["local"]),
        }
    ]

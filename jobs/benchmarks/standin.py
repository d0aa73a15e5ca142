"""Stand-ins for what a benchmark is not about: a backbone that costs nothing, a large dataset."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from torch import Tensor, nn

from sess_kernels import Backbone, Preprocessing

INPUT_SIDE = 32
CLASSES = 10
SLEEPS = {
    "lite0": 1 / 49.2176,
    "torchvision/resnet50": 1 / 20.6976,
    "torchvision/vgg16": 1 / 10.4372,
}
"""Seconds of an H100 for an image of 227x227 at 10 scales and pre-filter ratio 0:
``sess_images_per_s`` of ``benchmarks/results/kernel-*-nvidia-h100.json``."""
_FILES = 32


class Sleep(nn.Module):
    """Hands images on after a time for each.

    Args:
        seconds: Time for an image.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, images: Tensor) -> Tensor:
        """The same images (N, C, h, w)."""
        time.sleep(self.seconds * len(images))
        return images


def noop() -> Backbone:
    """A backbone that costs next to nothing.

    Example:
        >>> backbone = noop()
        >>> backbone.input_size, backbone.n_classes
        (32, 10)
    """
    return sleeper(0.0)


def lite0() -> Backbone:
    """A backbone that sleeps as long as an H100 takes for an image with EfficientNet-Lite0."""
    return sleeper(SLEEPS["lite0"])


def resnet50() -> Backbone:
    """The same with ResNet-50."""
    return sleeper(SLEEPS["torchvision/resnet50"])


def vgg16() -> Backbone:
    """The same with VGG-16."""
    return sleeper(SLEEPS["torchvision/vgg16"])


def sleeper(seconds: float) -> Backbone:
    """A backbone that sleeps so long for every patch and does next to nothing else."""
    model = nn.Sequential(
        Sleep(seconds),
        nn.AvgPool2d(INPUT_SIDE // 4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, CLASSES),
    )
    prepared = Preprocessing(INPUT_SIDE)
    return Backbone(
        model, name="stand-in", target_layer="1", preprocessing=prepared, leaves=(Sleep,)
    )


def feign_gpus(gpus: int, cpus: int) -> None:
    """Have a Ray that is started later offer GPUs and CPUs that this machine need not have.

    Example:
        >>> feign_gpus(gpus=1, cpus=2)
        >>> os.environ.pop("RAY_OVERRIDE_RESOURCES")
        '{"CPU": 2, "GPU": 1}'
    """
    os.environ["RAY_OVERRIDE_RESOURCES"] = json.dumps({"CPU": cpus, "GPU": gpus})


def write_images(folder: Path, n_rows: int, side: int, suffix: str) -> Path:
    """A table of ``n_rows`` drawn images that share a few files; the path of the table.

    Args:
        folder: Where files and table go.
        n_rows: Rows of the table.
        side: Sides of the images in pixels.
        suffix: Kind of the files, as ``.bmp``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for number in range(_FILES):
        block = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(block).resize((side, side)).save(folder / f"{number}{suffix}")
    return write_table(folder, [f"{row % _FILES}{suffix}" for row in range(n_rows)], side)


def write_table(folder: Path, names: list[str], side: int) -> Path:
    """A table of square images of one size, by the names of their files; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    n_rows = len(names)
    columns = {
        "image": names,
        "image_id": [f"{row:09d}" for row in range(n_rows)],
        "label": np.arange(n_rows) % CLASSES,
        "height": np.full(n_rows, side, np.int32),
        "width": np.full(n_rows, side, np.int32),
    }
    path = folder / f"{n_rows}.parquet"
    pq.write_table(pa.table(columns), path)
    return path

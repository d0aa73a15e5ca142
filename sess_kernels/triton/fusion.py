"""Calibration and fusion of many maps in one launch; ``sess_kernels.fuse.fuse`` is the twin."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sess_kernels.calibration import samples
from sess_kernels.config import SESSConfig
from sess_kernels.fuse import PatchMaps
from sess_kernels.windows import Grid, Window

TILE = (16, 32)
"""Height and width of what a program makes, in pixels: powers of 2. No bit depends on it."""

_ALIGNMENT = 16  # bytes; Triton compiles another binary for tables that start elsewhere

_samples = lru_cache(maxsize=256)(samples)  # more than the windows of one image


class Tables(NamedTuple):
    """What the programs of a launch read, apart from the maps.

    Attributes:
        owners: ``int32 (programs,)`` the map that each program makes a tile of.
        maps: ``int64 (M, 9)`` of each map: address of the maps of its patches ``float32 (n, h, w)``
            and of the result ``float32 (H, W)``, H, W, h, w, its first patch, the patch behind its
            last one, its first program.
        patches: ``int64 (P, 6)`` of each patch: its first row in the result, the row behind its
            last one, where their samples begin; the same of its columns.
        scores: ``float32 (P,)`` the channel-wise weights.
        indices: ``int32`` the ``Samples.indices`` of all axes, each flat, one after another.
        weights: ``float32`` their ``Samples.weights`` likewise.
    """

    owners: Tensor
    maps: Tensor
    patches: Tensor
    scores: Tensor
    indices: Tensor
    weights: Tensor


def fuse_all(jobs: Sequence[PatchMaps], config: SESSConfig) -> list[Tensor]:
    """``fuse`` of many maps at once: the same but for the order of rounding.

    The bits of a map depend on nothing else in the launch. The stream is not waited for, unless
    channel-wise weights have to come from the device.

    Args:
        jobs: What ``fuse`` takes for each of the maps; the images, and the maps of their patches,
            may differ in size. All are on one device, of which ``available`` is true.
        config: Gives window size (set), theta and kind of fusion.

    Returns:
        For each (H, W), zero where no map exceeds theta; not normalised.

    Raises:
        ValueError: If a map has no window or no weight of its own.

    Example:
        >>> fuse_all([], SESSConfig(window_size=4))
        []
    """
    if not jobs:
        return []
    from sess_kernels.triton.kernel import fuse_tiles  # imports Triton

    device = jobs[0].maps.device
    sources = [job.maps.to(torch.float32).contiguous() for job in jobs]
    fused = [torch.empty(job.size, dtype=torch.float32, device=device) for job in jobs]
    tables = _tables(jobs, sources, fused, config)
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        fuse_tiles[(len(tables.owners),)](
            *tables, config.theta, int(config.fusion == "max"), HEIGHT=TILE[0], WIDTH=TILE[1]
        )
    return fused


def probe(device: torch.device) -> None:
    """Build the kernel and have it make a map of one pixel.

    Raises:
        Exception: Whatever Triton raises where it cannot.
    """
    window = Window(Grid(1, 1, (0,), (0,)), 0, 0)
    job = PatchMaps(torch.ones(1, 1, 1, device=device), torch.ones(1), [window], (1, 1))
    [fused] = fuse_all([job], SESSConfig(window_size=1))
    if fused.item() != 1:
        raise RuntimeError(f"the kernel fuses 1 to {fused.item()}")


class _Axes:
    """The samples of the axes of a launch, those that patches share once."""

    def __init__(self) -> None:
        self.indices: list[NDArray[np.int32]] = []
        self.weights: list[NDArray[np.float32]] = []
        self._places: dict[tuple[int, ...], tuple[int, int, int]] = {}
        self._length = 0

    def place(self, *axis: int) -> tuple[int, int, int]:
        """First pixel of an axis, the pixel behind its last one, where the samples begin."""
        if axis not in self._places:
            found = _samples(*axis)
            self._places[axis] = found.start, found.stop, self._length
            self.indices.append(found.indices.ravel())
            self.weights.append(found.weights.ravel())
            self._length += found.indices.size
        return self._places[axis]


def _tables(
    jobs: Sequence[PatchMaps],
    sources: Sequence[Tensor],
    fused: Sequence[Tensor],
    config: SESSConfig,
) -> Tables:
    side = config.window_size
    assert side is not None
    axes = _Axes()
    maps: list[tuple[int, ...]] = []
    patches: list[tuple[int, ...]] = []
    owners: list[int] = []
    for number, (job, source, result) in enumerate(zip(jobs, sources, fused, strict=True)):
        n, h, w = source.shape
        if not n == len(job.weights) == len(job.windows):
            raise ValueError(
                f"Expected one weight and one window for each of {n} maps but got "
                f"{len(job.weights)} and {len(job.windows)}"
            )
        (height, width), first = job.size, len(patches)
        for grid, top, left in job.windows:
            rows = axes.place(height, grid.height, top, side, h)
            patches.append(rows + axes.place(width, grid.width, left, side, w))
        addresses = source.data_ptr(), result.data_ptr()
        maps.append((*addresses, height, width, h, w, first, len(patches), len(owners)))
        owners += [number] * (-(-height // TILE[0]) * -(-width // TILE[1]))
    scores = torch.cat([job.weights.to("cpu", torch.float32) for job in jobs])
    arrays: list[NDArray[Any]] = [
        np.array(owners, np.int32),
        np.array(maps, np.int64).reshape(-1, 9),
        np.array(patches, np.int64).reshape(-1, 6),
        scores.numpy(),
        np.concatenate(axes.indices or [np.empty(0, np.int32)]),
        np.concatenate(axes.weights or [np.empty(0, np.float32)]),
    ]
    return Tables(*_on_device(arrays, fused[0].device))


def _on_device(arrays: Sequence[NDArray[Any]], device: torch.device) -> list[Tensor]:
    """Arrays as tensors on a device, by one copy that nothing waits for."""
    rooms = [-(-array.nbytes // _ALIGNMENT) * _ALIGNMENT for array in arrays]
    pinned = device.type == "cuda"
    packed = torch.empty(sum(rooms), dtype=torch.uint8, pin_memory=pinned)
    for room, array in zip(torch.split(packed, rooms), arrays, strict=True):
        room.numpy()[: array.nbytes] = array.reshape(-1).view(np.uint8)
    there = torch.split(packed.to(device, non_blocking=True), rooms)
    return [
        room[: array.nbytes].view(torch.from_numpy(array).dtype).view(array.shape)
        for room, array in zip(there, arrays, strict=True)
    ]

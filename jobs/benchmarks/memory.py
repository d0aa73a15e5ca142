"""What fusion allocates."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from jobs.benchmarks.measure import Row, Setting
from sess_kernels import SESSConfig
from sess_kernels.fuse import fuse, min_max
from sess_kernels.windows import grids, windows_of

_SIZE = (1500, 2000)
_SCALES = 12
_MAP = 7  # side of a CAM of most backbones


def memory(setting: Setting) -> list[Row]:
    """Peak of what one map's fusion allocates, beside one such map."""
    config = SESSConfig(scales=_SCALES).for_input(224)
    windows = windows_of(grids(*_SIZE, config))
    maps = min_max(torch.rand(len(windows), _MAP, _MAP), 224)
    weights = torch.rand(len(windows))
    peak = peak_bytes(lambda: fuse(maps, weights, windows, _SIZE, config))
    one = 4 * _SIZE[0] * _SIZE[1]
    what = f"fusion of {len(windows)} patches at {_SIZE[1]}x{_SIZE[0]}, {_SCALES} scales"
    ratio = {"median": peak / one, "q1": peak / one, "q3": peak / one, "n": 1}
    row = {"backbone": "any", "what": what, "against": "memory of one map", "ratio": ratio}
    return [row | {"peak_mb": peak / 1e6}]


def peak_bytes(call: Callable[[], object]) -> int:
    """The most memory of tensors on the CPU that a call holds at a time.

    Example:
        >>> 8000 <= peak_bytes(lambda: torch.zeros(1000) + torch.ones(1000)) < 13000
        True
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        kept = call()
    held = peak = 0
    for event in found.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    del kept
    return peak

"""``--precision fast`` beside fp32: time, and how often both give the same."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from jobs.benchmarks.measure import Row, Setting, spread
from pipeline.images import read_rgb
from pipeline.sources import open_source
from sess_kernels import SESS, ClassSaliency, SESSConfig
from sess_kernels.errors import SessError

_RATIO = 0.9


def precision(setting: Setting) -> list[Row]:
    """Time of fp32 over fast, photograph by photograph, and the share with the same patches."""
    if setting.source is None:
        raise SessError("precision is measured on photographs; give them with --source")
    photographs = [read_rgb(row.uri) for row in open_source(setting.source)][: setting.images]
    if not photographs:
        raise SessError(f"{setting.source} holds no photograph")
    return [_row(setting, photographs, _RATIO)]


def _row(setting: Setting, photographs: list[Any], ratio: float) -> Row:
    config = SESSConfig(scales=setting.scales, pre_filter_ratio=ratio)
    backbone = setting.load()
    exact, fast = (
        SESS(backbone, config=config, batch_size=setting.batch_size, precision=name)
        for name in ("fp32", "fast")
    )
    kinds: dict[str, list[float]] = {"exact": [], "fast": []}
    same_set = same_map = 0
    for number, image in enumerate([photographs[0], *photographs]):
        found = {}
        for name, explain in (("exact", exact), ("fast", fast)):
            began = time.perf_counter()
            [[found[name]]] = explain([image], [None], keep_patches=True)
            if number:  # the first is a warm-up
                kinds[name].append(time.perf_counter() - began)
        if number:
            same_set += _windows(found["exact"]) == _windows(found["fast"])
            same_map += torch.equal(found["exact"].map, found["fast"].map)
    times = np.array(kinds["exact"]) / np.array(kinds["fast"])
    return {
        "backbone": setting.backbone,
        "what": f"SESS Grad-CAM, fp32, r = {ratio:g}",
        "against": "--precision fast",
        "ratio": spread(times.tolist()),
        "photographs": len(photographs),
        "same_kept_set": same_set / len(photographs),
        "same_map": same_map / len(photographs),
    }


def _windows(found: ClassSaliency) -> tuple[int, set[tuple[int, ...]]]:
    return found.class_index, {(patch.scale, *patch.window) for patch in found.patches}

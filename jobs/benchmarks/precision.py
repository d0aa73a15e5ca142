"""``--precision fast`` beside fp32: time, and how often both give the same."""

from __future__ import annotations

import time
from typing import Any

import torch

from jobs.benchmarks.measure import Row, Setting, spread
from pipeline.images import read_rgb
from pipeline.sources import first_rows, open_source
from sess_kernels import SESS, ClassSaliency, SESSConfig
from sess_kernels.errors import SessError

_RATIO = 0.9
_TOGETHER = 8  # photographs of a call: a run has 16 rows to one, which fill the device batches


def precision(setting: Setting) -> list[Row]:
    """Time of fp32 over fast, a few photographs at a time, and the share with the same patches."""
    if setting.source is None:
        raise SessError("precision is measured on photographs; give them with --source")
    tables = first_rows(open_source(setting.source), setting.images)
    photographs = [read_rgb(uri) for table in tables for uri in table["uri"].to_pylist()]
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
    times: list[float] = []
    same_set = same_map = 0
    chunks = [photographs[i : i + _TOGETHER] for i in range(0, len(photographs), _TOGETHER)]
    for number, chunk in enumerate([chunks[0], *chunks]):
        found, seconds = [], []
        for explain in (exact, fast):
            began = time.perf_counter()
            found.append(explain(chunk, [None] * len(chunk), keep_patches=True))
            seconds.append(time.perf_counter() - began)
        if number:  # the first is a warm-up
            times.append(seconds[0] / seconds[1])
            for [one], [other] in zip(*found, strict=True):
                same_set += _windows(one) == _windows(other)
                same_map += torch.equal(one.map, other.map)
    return {
        "backbone": setting.backbone,
        "what": f"SESS Grad-CAM, fp32, r = {ratio:g}",
        "against": "--precision fast",
        "ratio": spread(times),
        "photographs": len(photographs),
        "same_kept_set": same_set / len(photographs),
        "same_map": same_map / len(photographs),
    }


def _windows(found: ClassSaliency) -> tuple[int, set[tuple[int, ...]]]:
    return found.class_index, {(patch.scale, *patch.window) for patch in found.patches}

"""``--search`` beside every window: time, maps, and what it finds of the patches to keep."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs.benchmarks.measure import Row, Setting, spread
from jobs.benchmarks.photographs import grouped, photographs_of
from jobs.benchmarks.searched import Answers, Classes, Curves, answers_of, known, replay
from sess_kernels import SESS, Backbone, SESSConfig

_RATIO = 0.9
_TOGETHER = 8  # photographs of a call, which fill the device batches


def search(setting: Setting) -> list[Row]:
    """Time of every window over a search, how alike the maps are, what search and rivals find."""
    backbone = grouped(setting)
    photographs = photographs_of(setting, backbone)
    config = SESSConfig(scales=setting.scales, pre_filter_ratio=_RATIO)
    pair = SideBySide(backbone, config, setting.batch_size)
    curves = Curves(pair.every.config)
    for start in range(0, len(photographs), _TOGETHER):
        chunk = photographs[start : start + _TOGETHER]
        images, classes = [one.read() for one in chunk], [one.classes for one in chunk]
        if start < setting.repeats * _TOGETHER:  # what a search asks for is replayed for all
            pair.time(images, classes)
        answers = list(answers_of(pair.every, images, classes))
        pair.compare(images, answers)
        for one in answers:
            curves.add(one)
    rows = [pair.row(), *curves.rows()]
    counts = {"photographs": len(photographs), "maps": len(pair.correlations)}
    return [{"backbone": setting.backbone, **row, **counts} for row in rows]


class SideBySide:
    """SESS with every window and with a search, on the same photographs.

    Args:
        backbone: The classifier.
        config: Settings without a search.
        batch_size: Patches of a device batch.

    Attributes:
        every: SESS with every window.
        some: SESS with a search.
        correlations: Of the two maps, of each class of each photograph.
    """

    def __init__(self, backbone: Backbone, config: SESSConfig, batch_size: int | None) -> None:
        self.every, self.some = (
            SESS(backbone, config=one, batch_size=batch_size)
            for one in (config, replace(config, search=True))
        )
        self.correlations: list[float] = []
        self._differences: list[float] = []
        self._ratios: list[float] = []
        self._cpu_ratios: list[float] = []
        self._forwards: list[tuple[int, int]] = []

    def time(self, images: Sequence[Any], classes: Sequence[Classes]) -> None:
        """Run both on some photographs, one after the other; the first time once more before."""
        for _ in range(1 if self._ratios else 2):
            every, some = (_timed(one, images, classes) for one in (self.every, self.some))
        self._ratios.append(every.seconds / some.seconds)
        self._cpu_ratios.append(every.cpu_s / some.cpu_s)
        self._forwards.append((every.forwards, some.forwards))

    def compare(self, images: Sequence[Any], answers: Sequence[Answers]) -> None:
        """The maps of both, from scores that are there already."""
        scores = [one.scores for one in answers]
        searched = [known(one, replay(one, self.some.config)) for one in answers]
        maps = (self.every.explain_patches(images, some) for some in (scores, searched))
        for of_image, of_search in zip(*maps, strict=True):
            for one, other in zip(of_image, of_search, strict=True):
                self.correlations.append(correlation(one.map, other.map))
                self._differences.append((one.map - other.map).abs().mean().item())

    def row(self) -> Row:
        """Times and maps."""
        of_every, of_some = np.sum(self._forwards, axis=0)
        middle, low = np.percentile(self.correlations, [50, 5])
        config = self.some.config
        return {
            "what": f"SESS Grad-CAM, every window, r = {config.pre_filter_ratio:g}",
            "against": f"--search, search_recall {config.search_recall:g}",
            "ratio": spread(self._ratios),
            "cpu_ratio": spread(self._cpu_ratios),  # other work on the machine moves it less
            "share_of_forwards": float(of_some / of_every),
            "correlation": {"median": float(middle), "percentile_5": float(low)},
            "mean_absolute_difference": float(np.mean(self._differences)),
        }


@dataclass(frozen=True)
class _Timed:
    """Time, CPU time of this process, and forwards of a call."""

    seconds: float
    cpu_s: float
    forwards: int


def _timed(explain: SESS, images: Sequence[Any], classes: Sequence[Classes]) -> _Timed:
    before, began, began_cpu = explain.packing.patches, time.perf_counter(), time.process_time()
    explain(images, classes)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    return _Timed(seconds, cpu_s, explain.packing.patches - before)


def correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's correlation of two maps (H, W); without contrast, whether they are equal."""
    found = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]).double())[0, 1].item()
    return found if np.isfinite(found) else float(torch.equal(one, other))

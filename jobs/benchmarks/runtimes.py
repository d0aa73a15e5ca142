"""SESS on the runtimes of its forwards: eager torch over the others, and what their start takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from functools import partial

from jobs.benchmarks.measure import Row, Setting, alternate, compared
from sess_kernels import SESS, SESSConfig
from sess_kernels.backbones.runtimes import RUNTIMES
from sess_kernels.errors import SessError

_RATIO = 0.9


def runtimes(setting: Setting) -> Iterator[Row]:
    """A row for each runtime beside eager torch; one that cannot run the backbone says why."""
    backbone, images = setting.load(), setting.drawn()
    config = SESSConfig(scales=setting.scales, pre_filter_ratio=_RATIO)
    eager = SESS(backbone, config=config, batch_size=setting.batch_size)
    for name in RUNTIMES[1:]:
        what = f"SESS Grad-CAM, r = {_RATIO:g}, runtime torch"
        began = time.perf_counter()
        try:
            other = SESS(backbone, config=config, batch_size=setting.batch_size, runtime=name)
        except SessError as error:
            yield {"backbone": setting.backbone, "what": what, "error": str(error)[:240]}
            continue
        start = time.perf_counter() - began
        calls = {
            run: partial(explain, images, [[1]] * len(images))
            for run, explain in (("torch", eager), (name, other))
        }
        times = alternate(calls, setting.repeats, setting.device)
        saved = statistics.median(times["torch"]) - statistics.median(times[name])
        pays = {"pays_from_images": start / saved * len(images)} if saved > 0 else {}
        pair = times["torch"], times[name]
        row = compared(setting, what, f"runtime {name}", pair, setting.patches(eager))
        yield row | {"start_s": start} | pays

"""SESS with Grad-CAM beside its own bare forwards."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from jobs.benchmarks.measure import Row, Setting, alternate, bare, compared
from sess_kernels import SESS, SESSConfig

_RATIOS = (0.0, 0.5, 0.9, 0.99)


def forwards(setting: Setting) -> list[Row]:
    """What scaling, cropping, Grad-CAM and fusion add to the forwards, at several ratios."""
    backbone = setting.load()
    images = setting.drawn()
    rows = []
    for ratio in _RATIOS:
        config = SESSConfig(scales=setting.scales, pre_filter_ratio=ratio)
        explain = SESS(backbone, config=config, batch_size=setting.batch_size)
        n_patches = setting.patches(explain)
        rivals: dict[str, Callable[[], object]] = {
            "forward": bare(explain, n_patches),
            "sess": partial(explain, images, [[1]] * len(images)),
        }
        if not ratio:
            rivals["five"] = partial(explain, images, [[1, 2, 3, 4, 5]] * len(images))
        times = alternate(rivals, setting.repeats, setting.device)
        pair = times["sess"], times["forward"]
        what = f"SESS Grad-CAM, r = {ratio:g}"
        rows.append(compared(setting, what, "its forwards", pair, n_patches))
        if not ratio:
            pair = times["five"], times["sess"]
            what = "SESS Grad-CAM, r = 0, five classes"
            rows.append(compared(setting, what, "one class", pair, n_patches))
    return rows

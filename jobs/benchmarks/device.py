"""SESS on a device: its speed beside that of the passes that it cannot do without.

Its passes are run bare, in full device batches of the same size, as they are (eager) and compiled,
in the same rounds as SESS. A row that fails says so, the others go on.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch

from jobs.benchmarks.measure import Row, Setting, alternate, spread
from jobs.benchmarks.methods import passes
from jobs.benchmarks.passes import NAMES, Bare, Pass
from sess_kernels import SESS, Backbone, SESSConfig
from sess_kernels.errors import one_line
from sess_kernels.saliency import base_method

_CLASS = 1
_RIVALS = ("sess", "eager", "compiled")


class Case(NamedTuple):
    """What a row is about.

    Attributes:
        method: Base method.
        ratio: Pre-filter ratio.
        search: Whether few of the patches are scored.
        precision: As of ``SESS``.
    """

    method: str
    ratio: float
    search: bool = False
    precision: str = "fp32"

    @property
    def about(self) -> Row:
        """The settings, and a title of them."""
        searched = ", search" if self.search else ""
        title = f"SESS {base_method(self.method).title}, r = {self.ratio:g}{searched}"
        return {
            "what": f"{title}, {self.precision}",
            "method": self.method,
            "pre_filter_ratio": self.ratio,
            "search": self.search,
            "precision": self.precision,
        }


_RATIOS = ((0.0, False), (0.9, False), (0.99, False), (0.9, True))
CASES = (
    *(Case(method, *ratio) for method in ("gradcam", "guided-backprop") for ratio in _RATIOS),
    *(Case("groupcam", ratio) for ratio in (0.9, 0.99)),  # 33 forwards for each kept patch
    *(Case("gradcam", 0.9, precision=precision) for precision in ("fast", "bf16")),
)


def device(setting: Setting) -> Iterator[Row]:
    """A row for each of ``CASES``, as soon as it is measured."""
    where = {"backbone": setting.backbone, "weights": setting.weights}
    try:
        backbone = setting.load()
        bare = Bare(backbone, setting)
    except Exception as error:  # no row can be measured without it
        yield where | {"what": "backbone", "error": _fault(error)}
        return
    for case in CASES:
        try:
            row = _row(setting, backbone, bare, case)
        except Exception as error:  # out of memory, say
            row = {"error": _fault(error)}
        yield where | case.about | row
        _free(setting.device)


def _row(setting: Setting, backbone: Backbone, bare: Bare, case: Case) -> Row:
    config = SESSConfig(scales=setting.scales, pre_filter_ratio=case.ratio, search=case.search)
    explain = SESS(backbone, case.method, config, setting.batch_size, case.precision)
    images, n_windows = setting.drawn(), setting.patches(explain)
    whole = partial(explain, images, [[_CLASS]] * len(images))
    _free(setting.device)
    found = whole()
    peak = _peak_mb(setting.device)
    n_kept = sum(one.n_kept for of_image in found for one in of_image)
    packing = explain.packing  # of that one call
    row: Row = {"batch_size": explain.batch_size, "images": len(images), "patches": n_windows}
    row |= {"scored": packing.patches, "batches": packing.batches, "kept": n_kept}
    needed = _needed(case, n_windows, packing.patches, n_kept)
    return row | _beside(setting, explain, whole, bare, needed, row) | {"peak_mb": peak}


def _needed(case: Case, n_windows: int, n_scored: int, n_kept: int) -> list[Pass]:
    """The passes that nothing can be left out of."""
    if case.precision == "fast":  # scores everything in bfloat16, some again in float32
        rough = Pass(torch.bfloat16, False, n_windows)
        found = [rough, Pass(torch.float32, False, n_scored - n_windows)]
    else:
        dtype = torch.bfloat16 if case.precision == "bf16" else torch.float32
        forwards, gradients = passes(case.method, case.ratio, n_scored, n_kept)
        found = [Pass(dtype, False, forwards), Pass(dtype, True, gradients)]
    return [one for one in found if one.patches]


def _beside(
    setting: Setting,
    explain: SESS,
    whole: Callable[[], object],
    bare: Bare,
    needed: list[Pass],
    counted: Row,
) -> Row:
    """SESS and its passes in the same rounds."""
    batch = explain.score.fixed_batch.clone()  # real patches: a GPU is faster with zeros
    compiled, fault = bare.compiled(needed, batch)
    calls = {"sess": whole, "eager": bare.eager(needed, batch)}
    if compiled:
        calls["compiled"] = compiled
    times = alternate(calls, setting.repeats, setting.device)
    row: Row = {f"{name}_s": spread(times[name]) if name in times else None for name in _RIVALS}
    row |= _speeds(times, counted, bare.best_seconds(needed))
    row["passes"] = [
        {"precision": NAMES[one.dtype], "backward": one.backward, "patches": one.patches}
        for one in needed
    ]
    row["tflop"] = bare.flops(needed) / 1e12
    row["matrix_tflops"] = {NAMES[one.dtype]: bare.rate(one.dtype) / 1e12 for one in needed}
    row["compile_s"] = bare.compile_seconds(needed) if compiled else None
    return row | ({"compile_error": fault} if fault else {})


def _speeds(times: dict[str, list[float]], counted: Row, best_seconds: float) -> Row:
    """Shares of the speed of the passes, 1 where SESS takes as long as they do, and rates."""
    mine = times["sess"]
    found: dict[str, Any] = {
        f"share_of_{name}": spread([a / b for a, b in zip(times[name], mine, strict=True)])
        if name in times
        else None
        for name in _RIVALS[1:]
    }
    found["share_of_matrix_rate"] = spread([best_seconds / one for one in mine])
    found["sess_images_per_s"] = spread([counted["images"] / one for one in mine])
    found["sess_patches_per_s"] = spread([counted["patches"] / one for one in mine])
    found["ms_per_patch"] = 1e3 * statistics.median(mine) / counted["patches"]
    return found


def _fault(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"[:240]


def _free(device: str) -> None:
    """Give back what earlier rows held, and watch the peak anew."""
    if device.startswith("cuda"):
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak_mb(device: str) -> float | None:
    return torch.cuda.max_memory_allocated() / 1e6 if device.startswith("cuda") else None

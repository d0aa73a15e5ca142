"""Arithmetic that a map's bits may rest on, and how fewer bits serve where they may not.

In reduced precision the order of the scores changes, and with it the patches that the pre-filter
keeps. ``fast`` therefore scores everything in bfloat16 and repeats in float32 what may be kept:
the best patches of each class and a margin behind them. As long as the margin holds every patch
that the order has lost, the result is bit-equal to float32's.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from sess_kernels.config import SESSConfig
from sess_kernels.packing import Span
from sess_kernels.prefilter import pre_filter

PRECISIONS = {"fp32": None, "fast": torch.bfloat16, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Precisions by name, and the type that patches are scored in where it is not float32."""

MARGIN = 0.04  # of all patches of an image: those behind the kept ones that float32 scores too
MAX_REPEATED = 0.35  # share of the patches; above it scoring twice saves too little
_ROUNDING = 1e-9

_lock = threading.Lock()
_inside = 0  # the switches belong to the process: the first thread sets, the last one restores
_restore = ExitStack()


@contextmanager
def exact_fp32() -> Iterator[None]:
    """Real float32, the same algorithm every time: no TF32, no choice of algorithm by timing.

    CUDA convolutions otherwise round their inputs to 10 bits of mantissa, which moves a map by
    1e-4.

    Example:
        >>> with exact_fp32():
        ...     torch.backends.cudnn.allow_tf32
        False
    """
    global _inside
    with _lock:
        _inside += 1
        if _inside == 1:
            _restore.enter_context(_switched())
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _restore.close()


@contextmanager
def _switched() -> Iterator[None]:
    matmul = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = matmul


def pays(config: SESSConfig) -> bool:
    """Whether ``fast`` saves time: few enough patches are scored twice.

    Example:
        >>> pays(SESSConfig(pre_filter_ratio=0.9)), pays(SESSConfig(pre_filter_ratio=0.5))
        (True, False)
    """
    return 1 - config.pre_filter_ratio + MARGIN <= MAX_REPEATED + _ROUNDING


def hopeful(
    rough: Tensor, spans: Sequence[Span], classes: Sequence[Sequence[int]], config: SESSConfig
) -> Tensor:
    """Patches that the pre-filter may keep for some class, apart from those of the first scale.

    Args:
        rough: (P, classes) scores of the patches of a group in reduced precision.
        spans: The patches of each image.
        classes: Its classes.
        config: Gives the pre-filter ratio.

    Returns:
        ``int64 (n,)``, ascending.
    """
    found = torch.zeros(len(rough), dtype=torch.bool)
    for span, indices in zip(spans, classes, strict=True):
        margin = math.ceil(MARGIN * (span.stop - span.first))
        for index in indices:
            best = pre_filter(rough[span.first : span.stop, index], config, margin)
            found[span.first + best] = True
    for span in spans:
        found[span.first_scale] = False
    return found.nonzero().flatten()

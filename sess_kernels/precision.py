"""Arithmetic that a map's bits may rest on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

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

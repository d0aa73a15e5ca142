"""Arithmetic that a map's bits may rest on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
    matmul = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = matmul

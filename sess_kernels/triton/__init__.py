"""Kernels in Triton, for CUDA; each has a twin in torch for where it cannot be had.

Nothing here imports Triton before a kernel is asked for: it may be missing, and a CPU needs none.
"""

from __future__ import annotations

import os
import warnings
from functools import lru_cache
from importlib.util import find_spec

import torch


def available(device: torch.device) -> bool:
    """Whether the kernels run on a device, asked of Triton once per process and device.

    Where a kernel cannot be built on a CUDA device there is one warning and the answer is no for
    good: the twin rounds in another order, so that changing to it between two maps would show.

    Args:
        device: Where the maps are. A CPU has Triton's interpreter alone, slow and for tests, if
            ``TRITON_INTERPRET=1`` is in the environment; it reads no CUDA memory.

    Raises:
        torch.OutOfMemoryError: If the device has no byte left to try it.

    Example:
        >>> available(torch.device("meta"))
        False
    """
    interpreted = os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "yes", "on", "y")
    if device.type == "cpu":
        return interpreted and find_spec("triton") is not None
    return device.type == "cuda" and not interpreted and _builds(device)


@lru_cache(maxsize=64)
def _builds(device: torch.device) -> bool:
    """Build and run the kernels once on a device; warn if that fails."""
    try:
        from sess_kernels.triton.fusion import probe

        probe(device)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # compilers, drivers and caches fail each in its own way
        reason = next(iter(str(error).splitlines()), "")
        warnings.warn(
            f"the Triton kernel of fusion cannot be built for {device}: {type(error).__name__}: "
            f"{reason}; torch fuses instead, slower and rounded otherwise in the last bits; "
            "check that triton and a C compiler are installed and ~/.triton can be written",
            stacklevel=3,
        )
        return False
    return True

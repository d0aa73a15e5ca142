"""The heap of the process on a CPU: what one forward frees, the next one takes again."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import lru_cache

_KEPT = 512 * 2**20  # bytes of freed memory that stay with the process
_LARGEST = 128 * 2**20  # bytes of a block that is kept; activations of a device batch are smaller
# a thread has heaps of 64 MiB; an empty one goes unless its neighbour were left with less than this
_SPARE = 2 * 64 * 2**20
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # M_... of <malloc.h>
_OWN_CHOICE = (
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_MMAP_THRESHOLD_",
    "GLIBC_TUNABLES",
)


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Have glibc keep what is freed, up to 512 MiB, for the rest of the process.

    The activations of a forward are freed and allocated again with every batch. By default glibc
    gives them back to the kernel, now and then or every time as the heap happens to lie, and the
    kernel must clear fresh pages for the next batch. The heaps of threads count as well.

    Returns:
        Whether it does: not where malloc is not glibc's, or the environment sets it up.

    Example:
        >>> keep_freed_memory() in (True, False)
        True
    """
    if sys.platform != "linux" or any(name in os.environ for name in _OWN_CHOICE):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    options = {_MMAP_THRESHOLD: _LARGEST, _TRIM_THRESHOLD: _KEPT, _TOP_PAD: _SPARE}
    return all(set_option(*option) for option in options.items())

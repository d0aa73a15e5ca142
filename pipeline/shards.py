"""Shards: consecutive images of about equal cost that one worker takes as a whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_SHARD_BYTES = 2**27
"""Bytes of the pixels and maps of a shard, at most: one worker decodes and explains all of it."""

MAX_SHARD_PATCHES = 65_536
"""Patches of a shard, at most: above it a lost shard costs too much to repeat."""

MIN_SHARD_PATCHES = 128
"""Patches of a shard of a small dataset: below it the padding of the last device batch shows."""

SMALL_SHARDS = 64
"""Shards of a small dataset, about: enough for workers to end together."""

_PIXEL_BYTES = 3  # RGB
_MAP_BYTES = 4  # a float32 for each pixel and class


def shard_bytes(pixels: NDArray[np.int64], n_classes: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """Bytes that images (N,) take in a shard: their pixels, and a map for each class."""
    found: NDArray[np.int64] = pixels * (_PIXEL_BYTES + _MAP_BYTES * np.maximum(n_classes, 1))
    return found


def small_shard_patches(patches: NDArray[np.int64]) -> int:
    """Patches of a shard, at most, in a dataset of so few images (N,) that this decides."""
    aimed = int(patches.sum()) // SMALL_SHARDS
    return min(max(aimed, MIN_SHARD_PATCHES), MAX_SHARD_PATCHES)


def cut(
    patches: NDArray[np.int64],
    n_bytes: NDArray[np.int64],
    batch_size: int,
    max_patches: int = MAX_SHARD_PATCHES,
) -> NDArray[np.int64]:
    """Where shards of consecutive images end.

    A shard has at most ``max_patches`` patches (but ``MIN_SHARD_PATCHES`` where the bytes allow)
    and ``MAX_SHARD_BYTES`` bytes, and at least one image. From three quarters of either limit on it
    ends where its last device batch is fullest; of equal ends the last is taken.

    Args:
        patches: Patches of each image (N,); 0 of one that failed, which counts as 1.
        n_bytes: Bytes of each image (N,).
        batch_size: Patches of a device batch.
        max_patches: Patches of a shard, at most.

    Returns:
        For each shard the number of its last image plus 1.

    Example:
        >>> cut(np.full(10, 30), np.full(10, 1000), batch_size=4, max_patches=128).tolist()
        [5, 10]
    """
    n = len(patches)
    total, cost, held = (_sums(one) for one in (patches, np.maximum(patches, 1), n_bytes))
    least = _reaching(cost, MIN_SHARD_PATCHES)
    full = np.minimum(np.maximum(_within(cost, max_patches), least), _within(held, MAX_SHARD_BYTES))
    full = np.maximum(full, np.arange(n) + 1)
    enough = np.minimum(
        _reaching(cost, max_patches * 3 // 4), _reaching(held, MAX_SHARD_BYTES * 3 // 4)
    )
    enough = np.clip(enough, least, full)
    filled = total % batch_size
    ends = []
    start = 0
    while start < n:
        end = int(full[start])
        if end < n:
            padding = (filled[start] - filled[enough[start] : end + 1]) % batch_size
            end -= int(padding[::-1].argmin())
        ends.append(end)
        start = end
    return np.array(ends, np.int64)


def _sums(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(values, dtype=np.int64)])


def _within(sums: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """For each start the furthest end at which the sum in between is within the limit."""
    return sums.searchsorted(sums[:-1] + limit, "right") - 1


def _reaching(sums: NDArray[np.int64], amount: int) -> NDArray[np.int64]:
    """For each start the nearest end at which the sum in between is that amount."""
    return np.minimum(sums.searchsorted(sums[:-1] + amount), len(sums) - 1)

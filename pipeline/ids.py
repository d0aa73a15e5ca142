"""Ids of images: that they can be used, and that no two are equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.strings import raw_strings
from sess_kernels.errors import SessError

_ODD = np.uint64(0x9E3779B97F4A7C15)  # any odd number whose bits look random
_WORD = 8
_PARTS = 64  # of the range of hashes; one part at a time is compared


def check_ids(ids: pa.StringArray, first_row: int) -> None:
    """Refuse ids that no file and no table can carry.

    Args:
        ids: Ids of consecutive images.
        first_row: Number of the first of them, from 0.

    Raises:
        SessError: If an id is missing, empty or holds a NUL character.
    """
    empty = np.asarray(pc.equal(pc.fill_null(pc.binary_length(ids), 0), 0), bool)
    if empty.any():
        row = first_row + int(empty.argmax())
        raise SessError(f"row {row}: the image id is empty; fill the column 'image_id'")
    _, content = raw_strings(ids)
    if content.all():
        return
    row, image_id = next((n, one) for n, one in enumerate(ids.to_pylist()) if "\0" in one)
    raise SessError(f"row {first_row + row}: the image id {image_id!r} holds NUL; remove it")


def hash_ids(ids: pa.StringArray) -> NDArray[np.uint64]:
    """A 64-bit hash of every id (N,), the same on every machine.

    Example:
        >>> one, two, three = hash_ids(pa.array(["a.jpg", "b.jpg", "a.jpg"])).tolist()
        >>> one == three, one == two
        (True, False)
    """
    offsets, content = raw_strings(ids)
    lengths = np.diff(offsets).astype(np.int64)
    found = lengths.astype(np.uint64) * _ODD
    padded = np.concatenate([content, np.zeros(_WORD, np.uint8)])
    words = np.ndarray(len(content) + 1, "<u8", padded, strides=(1,))  # one begins at every byte
    rows, start = np.arange(len(lengths)), 0
    while len(rows):
        left = lengths[rows] - start
        beyond = 8 * np.maximum(_WORD - left, 0).astype(np.uint64)  # bits of the next string
        word = words[offsets[rows] + start] << beyond
        mixed = (found[rows] ^ word) * _ODD
        found[rows] = mixed ^ (mixed >> np.uint64(32))
        start += _WORD
        rows = rows[left > _WORD]
    return found


class UniqueIds:
    """Finds out whether an id comes twice, with 8 bytes of memory for each.

    Equal hashes alone prove nothing: the ids that have them are compared in a second look.

    Args:
        again: All ids so far once more; asked for in that case only.
        what: What they are called where two are equal.

    Example:
        >>> ids = pa.array(["a", "b", "a"])
        >>> unique = UniqueIds(lambda: [ids])
        >>> unique.add(hash_ids(ids))
        Traceback (most recent call last):
        ...
        sess_kernels.errors.SessError: two rows have the image id 'a'; make ids unique
    """

    def __init__(
        self, again: Callable[[], Iterable[pa.StringArray]], what: str = "image id"
    ) -> None:
        self._again = again
        self._what = what
        self._sorted: list[NDArray[np.uint64]] = []
        self._n = self._checked = 0

    def add(self, hashes: NDArray[np.uint64]) -> None:
        """Take the hashes of further ids; these must be in ``again`` from now on.

        Raises:
            SessError: If two ids are equal; found by the time there are twice as many rows.
        """
        self._sorted.append(np.sort(hashes))
        self._n += len(hashes)
        if self._n >= 2 * self._checked:  # so all checks together cost two of the whole
            self.check()

    def check(self) -> None:
        """Compare all ids so far.

        Raises:
            SessError: If two are equal.
        """
        if self._checked == self._n:
            return
        self._checked = self._n
        twice = [part[1:][part[1:] == part[:-1]] for part in self._parts()]
        if any(map(len, twice)):
            self._look(np.unique(np.concatenate(twice)))

    def _parts(self) -> Iterator[NDArray[np.uint64]]:
        """All hashes, sorted, a part of their range at a time: no copy of the whole is made."""
        bounds = np.arange(1, _PARTS, dtype=np.uint64) << np.uint64(58)
        cuts = [[0, *one.searchsorted(bounds), len(one)] for one in self._sorted]
        for part in range(_PARTS):
            pieces = [
                one[cut[part] : cut[part + 1]] for one, cut in zip(self._sorted, cuts, strict=True)
            ]
            yield np.sort(np.concatenate(pieces))

    def _look(self, twice: NDArray[np.uint64]) -> None:
        seen: set[str] = set()
        again: Counter[str] = Counter()
        for ids in self._again():
            for image_id in ids.filter(pa.array(np.isin(hash_ids(ids), twice))).to_pylist():
                if image_id in seen:
                    again[image_id] += 1
                seen.add(image_id)
        if not again:
            return
        first = next(iter(again))
        more = again.total() - 1
        others = f", and {more:,} more have that of an earlier row" if more else ""
        raise SessError(f"two rows have the {self._what} {first!r}{others}; make ids unique")

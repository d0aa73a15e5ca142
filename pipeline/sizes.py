"""Sizes of images that the source does not tell, from their headers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import BoundedSemaphore
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.images import image_size, size_of
from pipeline.members import RowReader, is_row, together
from sess_kernels.errors import one_line

_READERS = 32  # threads; they wait for the storage most of the time
_FILES = 8  # Parquet files that are read at a time: of each a page is held


def with_sizes(tables: Iterable[pa.Table], max_pixels: int) -> Iterator[pa.Table]:
    """Read headers in parallel where the size is not known, order kept.

    Images in Parquet files are read as a whole, once, each file by one thread: a header cannot be
    had there without its image.

    Args:
        tables: Rows of ``records.SOURCE_SCHEMA``.
        max_pixels: Pixels of an image, at most.

    Yields:
        The tables with every size known and the columns ``error`` and ``missing``: where ``error``
        is not null the header cannot be read, and height and width are 0; ``missing`` where there
        is no such file.
    """
    headers = _Headers(max_pixels)
    try:
        for table in tables:
            yield _with_sizes(table, headers)
    finally:
        headers.close()


def _with_sizes(table: pa.Table, headers: _Headers) -> pa.Table:
    missing = np.flatnonzero(np.asarray(pc.is_null(table["height"])))
    heights, widths = (
        np.array(np.asarray(pc.fill_null(table[name], 0))) for name in ("height", "width")
    )
    errors = pa.nulls(table.num_rows, pa.string())
    lost = np.zeros(table.num_rows, bool)
    if len(missing):
        uris = table["uri"].take(missing).to_pylist()
        found = headers.read(uris)
        heights[missing] = [one.height for one in found]
        widths[missing] = [one.width for one in found]
        lost[missing] = [one.missing for one in found]
        said = np.full(table.num_rows, None, object)
        said[missing] = [one.error for one in found]
        errors = pa.array(said, pa.string())
    sized = table.drop_columns(["height", "width"])
    columns = {"height": heights, "width": widths, "error": errors, "missing": lost}
    for name, column in columns.items():
        sized = sized.append_column(name, pa.array(column))
    return sized


class _Size(NamedTuple):
    """Height and width of an image, or why they cannot be read."""

    height: int = 0
    width: int = 0
    error: str | None = None
    missing: bool = False


class _Headers:
    """Reads sizes with a pool of threads."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._pool = ThreadPoolExecutor(_READERS)
        self._files = BoundedSemaphore(_FILES)
        self._last = RowReader()

    def read(self, uris: Sequence[str]) -> list[_Size]:
        parts = together(uris)
        # the file in which the last table ended may go on in this one
        readers = [self._last, *(RowReader() for _ in parts[1:])]
        self._last = readers[-1]
        found = list(chain.from_iterable(self._pool.map(self._read, parts, readers)))
        for reader in readers[:-1]:
            reader.close()
        return found

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._last.close()

    def _read(self, uris: Sequence[str], reader: RowReader) -> list[_Size]:
        if not is_row(uris[0]):
            return [self._size(uri, None) for uri in uris]
        with self._files:
            return [self._size(*one) for one in zip(uris, reader.read_many(uris), strict=True)]

    def _size(self, uri: str, content: bytes | Exception | None) -> _Size:
        try:
            if content is None:
                return _Size(*image_size(uri, self._max_pixels))
            if isinstance(content, Exception):
                raise content
            return _Size(*size_of(content, uri, self._max_pixels))
        except Exception as error:  # a decoder may raise anything; the row says so, others go on
            return _Size(error=one_line(error), missing=isinstance(error, FileNotFoundError))

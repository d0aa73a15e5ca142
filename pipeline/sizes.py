"""Sizes of images that the source does not tell, from their headers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.images import image_size
from sess_kernels.errors import one_line

_READERS = 32  # threads; they wait for the storage most of the time


def with_sizes(tables: Iterable[pa.Table], max_pixels: int) -> Iterator[pa.Table]:
    """Read headers in parallel where the size is not known, order kept.

    Args:
        tables: Rows of ``records.SOURCE_SCHEMA``.
        max_pixels: Pixels of an image, at most.

    Yields:
        The tables with every size known and the columns ``error`` and ``missing``: where ``error``
        is not null the header cannot be read, and height and width are 0; ``missing`` where there
        is no such file.
    """
    pool = ThreadPoolExecutor(_READERS)
    try:
        for table in tables:
            yield _with_sizes(table, max_pixels, pool)
    finally:
        pool.shutdown(cancel_futures=True)


def _with_sizes(table: pa.Table, max_pixels: int, pool: ThreadPoolExecutor) -> pa.Table:
    missing = np.flatnonzero(np.asarray(pc.is_null(table["height"])))
    heights, widths = (
        np.array(np.asarray(pc.fill_null(table[name], 0))) for name in ("height", "width")
    )
    errors = pa.nulls(table.num_rows, pa.string())
    lost = np.zeros(table.num_rows, bool)
    if len(missing):
        uris = table["uri"].take(missing).to_pylist()
        found = list(pool.map(partial(_size, max_pixels=max_pixels), uris))
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


def _size(uri: str, max_pixels: int) -> _Size:
    try:
        return _Size(*image_size(uri, max_pixels))
    except Exception as error:  # a decoder may raise anything; the row says so, others go on
        return _Size(error=one_line(error), missing=isinstance(error, FileNotFoundError))

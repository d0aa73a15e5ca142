"""Sources: datasets as a stream of tables of (image id, URI, labels, size)."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from pipeline.sources.folder import read_folder
from pipeline.sources.listed import Listed
from pipeline.sources.table import read_labels, read_table
from sess_kernels.errors import SessError, unknown

Reader = Callable[[str, Listed], Iterator[pa.Table]]

SOURCES: dict[str, Reader] = {
    "folder": read_folder,
    "table": read_table,
}
"""Readers by kind, as in ``folder:DIR``: a path and what to tell, to ``records.SOURCE_SCHEMA``."""

_TABLES = (".csv", ".jsonl", ".parquet")


def open_source(source: str, listed: Listed | None = None) -> Iterator[pa.Table]:
    """Rows of a source given as ``KIND:PATH``, or as a path whose kind is guessed.

    Args:
        source: The source.
        listed: Is told what becomes known beside the rows.

    Returns:
        Tables of ``records.SOURCE_SCHEMA`` with at most ``records.TABLE_ROWS`` rows each, read as
        they are asked for.

    Raises:
        SessError: If the kind is unknown or the path cannot be read.

    Example:
        >>> open_source("foldr:photos")
        Traceback (most recent call last):
        ...
        sess_kernels.errors.SessError: unknown kind of source 'foldr'; did you mean 'folder'? ...
    """
    kind, colon, path = source.partition(":")
    if not colon or path.startswith("//"):  # a plain path, or a URI such as s3://bucket/photos
        kind, path = _guess(source), source
    if kind not in SOURCES:
        raise SessError(unknown("kind of source", kind, SOURCES))
    return SOURCES[kind](path, Listed() if listed is None else listed)


def first_rows(tables: Iterable[pa.Table], limit: int) -> Iterator[pa.Table]:
    """The first ``limit`` rows; nothing is read beyond the table that holds the last of them.

    Example:
        >>> tables = [pa.table({"row": [0, 1]}), pa.table({"row": [2, 3]})]
        >>> [table["row"].to_pylist() for table in first_rows(tables, 3)]
        [[0, 1], [2]]
    """
    for table in tables:
        yield table.slice(0, limit)
        limit -= table.num_rows
        if limit <= 0:
            return


def _guess(path: str) -> str:
    return "table" if posixpath.splitext(path)[1].lower() in _TABLES else "folder"


__all__ = [
    "SOURCES",
    "Listed",
    "first_rows",
    "open_source",
    "read_folder",
    "read_labels",
    "read_table",
]

"""Sources: datasets as rows of (image id, URI, labels)."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator

from pipeline.records import SourceRow
from pipeline.sources.folder import read_folder
from pipeline.sources.table import read_labels, read_table
from sess_kernels.errors import SessError, unknown

SOURCES: dict[str, Callable[[str], Iterator[SourceRow]]] = {
    "folder": read_folder,
    "table": read_table,
}
"""Readers by kind, as in ``folder:DIR``."""

_TABLES = (".csv", ".jsonl", ".parquet")


def open_source(source: str) -> Iterator[SourceRow]:
    """Rows of a source given as ``KIND:PATH``, or as a path whose kind is guessed.

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
    return SOURCES[kind](path)


def _guess(path: str) -> str:
    return "table" if posixpath.splitext(path)[1].lower() in _TABLES else "folder"


__all__ = ["SOURCES", "open_source", "read_folder", "read_labels", "read_table"]

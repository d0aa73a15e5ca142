"""Rows of a table as they are: CSV, JSON lines or Parquet; one that makes no sense is left out."""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources.listed import Listed
from pipeline.sources.reading import read_text
from pipeline.stores import open_file
from sess_kernels.errors import SessError, one_line, unknown

Rows = Iterator[tuple[int, dict[str, Any]]]
"""Number of a line or row, and its values by column."""

_FIRST_ROW = 2  # as the messages of sources count: row 1 is the header


def read_rows(path: str, needed: tuple[str, ...], listed: Listed) -> Rows:
    """The rows of a table with their numbers.

    Args:
        path: Path or URI, ``.csv``, ``.jsonl`` or ``.parquet``.
        needed: Columns that it must have.
        listed: Is told rows that make no sense.

    Raises:
        SessError: If the table cannot be read or lacks a column.
    """
    ending = posixpath.splitext(path)[1].lower()
    if ending not in _READERS:
        raise SessError(unknown("kind of table", ending or path, _READERS))
    yield from _READERS[ending](path, needed, listed)


def _read_csv(path: str, needed: tuple[str, ...], listed: Listed) -> Rows:
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), restkey="")
    _check_columns(path, needed, reader.fieldnames or ())
    try:
        for row in reader:
            if "" in row or None in row.values():
                told = f"{path}: line {reader.line_num} has not as many cells as the header"
                listed.fault(f"{told}; it is left out")
            else:
                yield reader.line_num, row
    except csv.Error as error:
        said = f"line {reader.line_num}: {one_line(error)}"
        raise SessError(f"table {path} cannot be read: {said}") from error


def _read_json(path: str, needed: tuple[str, ...], listed: Listed) -> Rows:
    checked = False
    for number, text in enumerate(read_text(path).splitlines(), 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
            if not isinstance(row, dict):
                raise ValueError("it is no object of columns")
        except (ValueError, RecursionError) as error:
            listed.fault(f"{path}: line {number}: {one_line(error)}; it is left out")
            continue
        if not checked:
            _check_columns(path, needed, row)
        checked = True
        yield number, row


def _read_parquet(path: str, needed: tuple[str, ...], _: Listed) -> Rows:
    number = _FIRST_ROW
    try:
        with open_file(path) as file:
            table = pq.ParquetFile(file)
            _check_columns(path, needed, table.schema_arrow.names)
            for batch in table.iter_batches():
                for row in batch.to_pylist():
                    yield number, row
                    number += 1
    except FileNotFoundError:
        raise SessError(f"table {path} does not exist; check the path") from None
    except (OSError, pa.ArrowException) as error:
        raise SessError(f"table {path} cannot be read: {one_line(error)}") from error


def _check_columns(path: str, needed: tuple[str, ...], names: Any) -> None:
    missing = [name for name in needed if name not in names]
    if missing:
        had = ", ".join(map(str, names)) or "none"
        raise SessError(f"{path} needs the columns {', '.join(needed)} but has: {had}")


_READERS: dict[str, Callable[[str, tuple[str, ...], Listed], Rows]] = {
    ".csv": _read_csv,
    ".jsonl": _read_json,
    ".parquet": _read_parquet,
}

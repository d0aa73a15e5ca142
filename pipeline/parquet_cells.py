"""Cells of one column of a Parquet file, read forwards without holding a row group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.stores import open_file
from sess_kernels.errors import one_line

_ROWS = 16  # images that are held at a time
_BUFFER = 2**22  # bytes that are asked of a store at a time


class Cells:
    """Cells of one column by row; rising rows cost one pass over each row group.

    Arrow reads a row group from its beginning only. So the pass that gave the last cell is kept,
    and goes on if the next cell lies behind.

    Args:
        file: URI of the Parquet file.
        column: The column.

    Attributes:
        place: The file and the column.

    Raises:
        OSError: If the file is missing, is no Parquet file or has no such column.
    """

    def __init__(self, file: str, column: str) -> None:
        self.place = (file, column)
        self._file = open_file(file)
        self._pass: _Pass | None = None
        try:
            self._table = pq.ParquetFile(self._file, buffer_size=_BUFFER, pre_buffer=False)
        except (OSError, pa.ArrowException) as error:
            self._file.close()
            raise OSError(f"{file} cannot be read as Parquet: {one_line(error)}") from error
        names = self._table.schema_arrow.names
        if column not in names:
            self.close()
            raise OSError(f"{file} has no column {column!r}; it has: {', '.join(names)}")
        about = self._table.metadata
        lengths = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
        self._ends = np.cumsum([0, *lengths])[1:]

    def read(self, row: int) -> Any:
        """The cell of a row, from 0, as a Python value.

        Raises:
            OSError: If there is no such row or it cannot be read.
        """
        file, column = self.place
        group = int(self._ends.searchsorted(row, "right"))
        if group == len(self._ends):
            raise OSError(f"{file} has no row {row}; it has {self._table.metadata.num_rows}")
        if self._pass is None or self._pass.group != group or row < self._pass.start:
            first = int(self._ends[group - 1]) if group else 0
            self._pass = _Pass(self._table, group, first, column)
        try:
            return self._pass.read(row)
        except (OSError, pa.ArrowException) as error:
            raise OSError(f"{file}: row {row} cannot be read: {one_line(error)}") from error

    def close(self) -> None:
        """Close the file."""
        self._pass = None
        self._file.close()


class _Pass:
    """One way through a row group."""

    def __init__(self, table: pq.ParquetFile, group: int, first: int, column: str) -> None:
        self.group, self.start = group, first
        self._name = column
        self._cells: pa.Array = pa.nulls(0)
        self._fault = ""
        # the column's name selects columns called "NAME.x" as well
        self._batches = table.iter_batches(
            _ROWS, row_groups=[group], columns=[column], use_threads=False
        )

    def read(self, row: int) -> Any:
        if self._fault:  # not read again up to the fault for each row behind it
            raise OSError(self._fault)
        while row >= self.start + len(self._cells):
            self._go_on()
        return self._cells[row - self.start].as_py()

    def _go_on(self) -> None:
        try:
            batch = next(self._batches, None)
            if batch is None:
                raise OSError("the row group ends before it")
        except Exception as fault:
            self._fault = one_line(fault)
            raise
        self.start += len(self._cells)
        self._cells = batch.column(self._name)

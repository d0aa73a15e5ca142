"""Parquet files of the Hugging Face Hub, with the images in them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq

from pipeline.files import Folder
from pipeline.members import ParquetRow
from pipeline.records import TABLE_ROWS
from pipeline.sources.hf_columns import (
    Columns,
    check_image,
    choose_columns,
    class_names,
    field_type,
)
from pipeline.sources.listed import Listed
from pipeline.sources.options import with_options
from pipeline.sources.patterns import below
from pipeline.sources.rows import Row, tables_of
from pipeline.stores import open_file, retrying
from sess_kernels.errors import SessError, one_line, unknown

_OPTIONS = ("split", "image", "label", "id")
_SPLIT = re.compile(r"(.+?)(-\d+-of-\d+.*|-\d+)?\.parquet", re.IGNORECASE)
_LIST = re.compile(r"\.(list\.(element|item)|bag\.array_element)(?=\.|$)")
_BUFFER = 2**20  # bytes of each column


def read_hf(path: str, listed: Listed) -> Iterator[pa.Table]:
    """Images of the Parquet files in a folder, at any depth, in the order of the paths.

    The columns are found by the features that ``datasets`` stores in a file: its ``Image``, and
    ``label``, ``labels``, the one ``ClassLabel`` or ``objects.category``. Labels are class names
    where these are stored, else text or indices; -1 and null are no labels, as in a hidden test
    split. The bytes of images are not read.

    An id is the path of the file in the folder, without its ending, and the number of the row in
    it from 0: ``data/train-00000-of-00002/00000017``. Names of images are not unique on the Hub.

    Args:
        path: ``DIR`` or one Parquet file, with options: ``?split=train`` takes the files of a
            split (``train-00000-of-00002.parquet``, ``train/0000.parquet``), ``image=COLUMN``,
            ``label=COLUMN`` (``a.b`` for a field) and ``id=COLUMN`` say the columns.
        listed: Is told the classes, and which files are left out: those that cannot be read or lack
            the column.

    Raises:
        SessError: If there is no such file, or columns cannot be found.
    """
    where, options = with_options("hf", path, _OPTIONS)
    rows = tables_of(_rows(f"hf:{path}", where, options, listed))
    first = next(rows, None)
    if first is None:
        said = f": {listed.faults[0]}" if listed.faults else ""
        raise SessError(f"hf:{path} holds no image{said}")
    yield first
    yield from rows


def _rows(source: str, where: str, options: Mapping[str, str], listed: Listed) -> Iterator[Row]:
    folder, names = _files(source, where, options.get("split"))
    reader = _Reader(options, listed)
    for name in names:
        uri = f"{folder.uri}/{name}"
        try:
            with open_file(uri) as file:
                try:
                    yield from reader.rows(file, uri, posixpath.splitext(name)[0])
                except _Damaged as error:
                    file.read_at(1, 0)  # fails if it is the store that is at fault
                    listed.fault(f"{uri}: {error}")
        except OSError as error:
            raise SessError(f"{uri} cannot be read: {one_line(error)}") from error


def _files(source: str, where: str, split: str | None) -> tuple[Folder, list[str]]:
    """The folder and the names of the Parquet files of a split in it."""
    folder = Folder.of(where)
    kind = retrying(lambda: folder.files.get_file_info(folder.path)).type
    if kind == pa_fs.FileType.File:
        return Folder(folder.uri.rpartition("/")[0]), [folder.uri.rpartition("/")[2]]
    if kind == pa_fs.FileType.NotFound:
        raise SessError(f"{source}: there is no such folder; check the path")
    try:
        found = below(folder)
    except OSError as error:
        raise SessError(f"{source} cannot be read: {one_line(error)}") from error
    names = [name for name in found if name.lower().endswith(".parquet")]
    if not names:
        arrow = any(name.endswith(".arrow") for name in found)
        raise SessError(f"{source} holds no .parquet file" + (_SAVED if arrow else ""))
    if split is None:
        return folder, names
    chosen = [name for name in names if split in _splits(name)]
    if not chosen:
        there = {one for name in names for one in _splits(name)}
        raise SessError(f"{source}: {unknown('split', split, sorted(there))}")
    return folder, chosen


_SAVED = (
    " but Arrow files of datasets.save_to_disk, in which rows cannot be found; write Parquet: "
    "datasets.load_from_disk(DIR)[SPLIT].to_parquet(FILE)"
)


def _splits(name: str) -> set[str]:
    """What a file may be a part of, by its name and its folders.

    Example:
        >>> sorted(_splits("data/train-00000-of-00002.parquet"))
        ['data', 'train']
    """
    *folders, base = name.split("/")
    found = _SPLIT.fullmatch(base)
    return {*folders, *([found[1]] if found else [])}


class _Damaged(Exception):
    """A file of which nothing more can be read."""


class _Reader:
    """From Parquet files to rows; the first file that can be read decides on the columns."""

    def __init__(self, options: Mapping[str, str], listed: Listed) -> None:
        self._options, self._listed = options, listed
        self._columns: Columns | None = None
        self._names: list[str] | None = None

    def rows(self, file: pa.NativeFile, uri: str, stem: str) -> Iterator[Row]:
        try:
            table = pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
        except (OSError, pa.ArrowException) as error:
            said = f"it cannot be read as Parquet: {one_line(error)}"
            raise _Damaged(f"{said}; it is left out") from error
        columns = self._checked(table.schema_arrow, uri)
        for row, (labels, given) in enumerate(self._cells(table, columns)):
            image_id = f"{stem}/{row:08d}" if given is None else str(given)
            place = ParquetRow(uri, row, columns.image).uri
            found = None if columns.label is None else self._labels(labels, place)
            yield Row(image_id, place, found)

    def _checked(self, schema: pa.Schema, uri: str) -> Columns:
        """The columns, if this file has them."""
        try:
            columns = self._columns or choose_columns(schema, self._options)
            check_image(schema, columns.image)
        except SessError as error:
            if self._columns is None:
                raise SessError(f"{uri}: {error}") from error
            raise _Damaged(f"{error}; the file is left out") from error
        self._columns = columns
        label = columns.label
        if label is not None and field_type(schema, label) is None:
            self._listed.fault(f"{uri}: there is no column {label!r}; its images have no labels")
        # each file by its own names: their order may differ
        self._names = (class_names(schema, label) if label else None) or self._names
        for number, name in enumerate(self._names or []):
            self._listed.classes.setdefault(name, number)
        return columns

    def _cells(self, table: pq.ParquetFile, columns: Columns) -> Iterator[tuple[Any, Any]]:
        """Label and id of every row, ``None`` where there is none."""
        leaves = {column.path: _LIST.sub("", column.path) for column in table.schema}
        wanted = [name for name in (columns.label, columns.image_id) if name is not None]
        paths = [path for path, name in leaves.items() if name in wanted]
        try:
            for batch in table.iter_batches(TABLE_ROWS, columns=paths, use_threads=False):
                cells = (_column(batch, name) for name in (columns.label, columns.image_id))
                yield from zip(*cells, strict=True)
        except (OSError, pa.ArrowException) as error:
            said = f"its other rows cannot be read: {one_line(error)}"
            raise _Damaged(f"{said}; they are left out") from error

    def _labels(self, cell: Any, place: str) -> list[str]:
        """Labels in a cell, each once."""
        found: dict[str, None] = {}
        for label in _scalars(cell):
            if isinstance(label, int) and self._names and 0 <= label < len(self._names):
                found[self._names[label]] = None
            elif isinstance(label, int) and self._names and label != -1:
                said = f"class {label} has no name among {len(self._names)}"
                self._listed.fault(f"{place}: {said}; it is left out")
            elif (text := str(label).strip()) not in ("", "-1"):
                found[text] = None
        return list(found)


def _column(batch: pa.RecordBatch, name: str | None) -> list[Any]:
    """A column, or a field of one, as Python values; ``None`` for each row if it is not there."""
    if name is None:
        return [None] * batch.num_rows
    if name in batch.schema.names:
        found: list[Any] = batch.column(name).to_pylist()
        return found
    outer = name.partition(".")[0]
    return batch.column(outer).to_pylist() if outer in batch.schema.names else [None] * len(batch)


def _scalars(cell: Any) -> Iterator[Any]:
    """The values in lists and structs; of a struct only the field that was asked for is read."""
    if isinstance(cell, dict | list):
        for one in cell.values() if isinstance(cell, dict) else cell:
            yield from _scalars(one)
    elif cell is not None:
        yield cell

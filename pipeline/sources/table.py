"""A table of images: CSV, JSON lines or Parquet with the columns ``image`` and ``label(s)``."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from io import BytesIO

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq
import pyarrow.types as pt

from pipeline.files import Folder
from pipeline.records import TABLE_ROWS
from pipeline.sources.columns import (
    LABEL_COLUMNS,
    SIZE_COLUMNS,
    embedded,
    holds_bytes,
    image_names,
    labels_of,
    source_table,
)
from pipeline.sources.listed import Listed
from pipeline.stores import open_file
from sess_kernels.errors import SessError, one_line, unknown

_TEXT_COLUMNS = ("image", "image_id", *LABEL_COLUMNS)
_FIRST_ROW = 2  # as a spreadsheet shows a CSV: row 1 is the header
_BUFFER = 2**22  # bytes of each column of a Parquet file, and of a block of JSON lines


def read_table(path: str, _: Listed) -> Iterator[pa.Table]:
    """Rows of a table whose images are files named relative to the table's folder, or URIs.

    A Parquet table may hold the images themselves: ``image`` is then a column of bytes, or of
    structs with ``bytes`` and ``path``, where a row without bytes names a file. The id of such an
    image is its ``path``, if it has one, else the table's name and the number of the row from 0.
    The bytes are not read here.

    Columns: ``image``; optional ``image_id`` (else the image's name as written); optional ``label``
    or ``labels`` (class index or name, several separated by ``|`` or as a list); optional
    ``height`` and ``width`` (pixels after EXIF rotation), which save reading the image's header and
    are taken where both are positive.

    Raises:
        SessError: If the table cannot be read or lacks the column ``image``.
    """
    folder = Folder.of(path).uri.rpartition("/")[0]
    row = _FIRST_ROW
    for batch in _batches(path):
        yield source_table(batch, path, folder, row)
        row += batch.num_rows


def read_labels(path: str) -> dict[str, tuple[str, ...]]:
    """Labels of a table by image, several rows of one image taken together; held in memory.

    Raises:
        SessError: If the table cannot be read or has no labels.
    """
    found: dict[str, tuple[str, ...]] = {}
    row = _FIRST_ROW
    for batch in _batches(path):
        labels = labels_of(batch, path)
        if labels is None:
            raise SessError(f"{path}: there is no column 'label' or 'labels'")
        images = image_names(batch, path, row).to_pylist()
        for image, said in zip(images, labels.to_pylist(), strict=True):
            found[image] = tuple(dict.fromkeys((*found.get(image, ()), *said)))
        row += batch.num_rows
    if not found:
        raise SessError(f"{path} has no rows; it should list images and labels")
    return found


def _batches(path: str) -> Iterator[pa.RecordBatch]:
    """The columns that are wanted, ``TABLE_ROWS`` rows at a time at most."""
    ending = posixpath.splitext(path)[1].lower()
    if ending not in _READERS:
        raise SessError(unknown("kind of table", ending or path, _READERS))
    try:
        for batch in _READERS[ending](path):
            if "image" not in batch.schema.names:
                columns = ", ".join(batch.schema.names)
                raise SessError(f"{path} needs a column 'image' but has: {columns}")
            for start in range(0, batch.num_rows, TABLE_ROWS):
                yield batch.slice(start, TABLE_ROWS)
    except FileNotFoundError:
        raise SessError(f"table {path} does not exist; check the path") from None
    except (OSError, pa.ArrowException) as error:
        raise SessError(f"table {path} cannot be read: {one_line(error)}") from error


def _wanted(names: list[str]) -> list[str]:
    """Columns to read; all where there is no ``image``, so that the message can tell them."""
    found = [name for name in (*_TEXT_COLUMNS, *SIZE_COLUMNS) if name in names]
    return found if "image" in found else names


def _read_parquet(path: str) -> Iterator[pa.RecordBatch]:
    with open_file(path) as file:
        # a row group may be as large as the table: it is read through buffers, not as a whole
        table = pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
        columns, schema = _wanted(table.schema_arrow.names), table.schema_arrow
        if "image" not in schema.names or not holds_bytes(schema.field("image").type):
            yield from table.iter_batches(TABLE_ROWS, columns=columns)
            return
        columns.remove("image")
        if pt.is_struct(schema.field("image").type):
            columns.append("image.path")  # and not image.bytes
        row = 0
        for batch in table.iter_batches(TABLE_ROWS, columns=columns):
            yield embedded(batch, path, row)
            row += batch.num_rows


def _read_csv(path: str) -> Iterator[pa.RecordBatch]:
    with open_file(path) as file:
        names = pa_csv.open_csv(file).schema.names
    # names and indices alike as text: "7" stays an index, "1|2" and "tabby" are not guessed at
    types = dict.fromkeys(_TEXT_COLUMNS, pa.string()) | dict.fromkeys(SIZE_COLUMNS, pa.float64())
    convert = pa_csv.ConvertOptions(column_types=types, include_columns=_wanted(names))
    with open_file(path) as file:
        yield from pa_csv.open_csv(file, convert_options=convert)


def _read_json(path: str) -> Iterator[pa.RecordBatch]:
    with open_file(path) as file:
        for block in _blocks_of_lines(file):
            table = _parsed(block)
            names = [name for name in table.column_names if _is_date(table.field(name).type)]
            if names:  # text that looks like a date is text
                table = _parsed(block, pa.schema([(name, pa.string()) for name in names]))
            yield from table.combine_chunks().to_batches()


def _blocks_of_lines(file: pa.NativeFile) -> Iterator[bytes]:
    rest = b""
    while part := file.read(_BUFFER):
        whole, line_end, rest = (rest + part).rpartition(b"\n")
        if whole.strip():
            yield whole + line_end
    if rest.strip():
        yield rest


def _parsed(block: bytes, types: pa.Schema | None = None) -> pa.Table:
    read = pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1)
    parse = pa_json.ParseOptions(explicit_schema=types)
    return pa_json.read_json(BytesIO(block), read_options=read, parse_options=parse)


def _is_date(kind: pa.DataType) -> bool:
    return bool(pt.is_timestamp(kind))


_READERS: dict[str, Callable[[str], Iterator[pa.RecordBatch]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_json,
    ".parquet": _read_parquet,
}

"""Columns of a user's table as columns of a source, whatever their types."""

from __future__ import annotations

import posixpath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from pipeline.members import ParquetRow
from pipeline.records import SOURCE_SCHEMA
from pipeline.strings import holds, offsets_of
from sess_kernels.errors import SessError, one_line

LABEL_COLUMNS = ("label", "labels")
SIZE_COLUMNS = ("height", "width")


def source_table(batch: pa.RecordBatch, path: str, folder: str, first_row: int) -> pa.Table:
    """Rows of a table of images as rows of a source.

    Args:
        batch: Rows with the column ``image`` and any of the others.
        path: The table, for messages.
        folder: Where relative images lie.
        first_row: Number of the first row, for messages.

    Raises:
        SessError: If a row names no image, or a column is of a type that makes no sense.
    """
    images = image_names(batch, path, first_row)
    absolute = pc.starts_with(images, "/")
    if holds(images, ":"):
        absolute = pc.or_(absolute, pc.match_substring(images, "://"))
    uris = pc.if_else(absolute, images, pc.binary_join_element_wise(folder, images, "/"))
    ids = images
    if "image_id" in batch.schema.names:
        given = _texts(batch.column("image_id"), path, "image_id")
        ids = pc.coalesce(given, images) if given.null_count else given
    labels = labels_of(batch, path)
    if labels is None:
        labels = pa.nulls(batch.num_rows, SOURCE_SCHEMA.field("labels").type)
    return pa.table([ids, uris, labels, *_sizes(batch, path)], schema=SOURCE_SCHEMA)


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type holds images themselves, not their names.

    Example:
        >>> holds_bytes(pa.struct({"bytes": pa.binary(), "path": pa.string()}))
        True
        >>> holds_bytes(pa.string())
        False
    """
    if pt.is_struct(kind):
        at = kind.get_field_index("bytes")
        kind = kind.field(at).type if at >= 0 else kind
    return bool(pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_binary_view(kind))


def embedded(batch: pa.RecordBatch, path: str, first_row: int) -> pa.RecordBatch:
    """Rows of a Parquet file that holds its images, as if they were named: by URIs, with ids.

    Args:
        batch: Its columns but for the bytes; ``image`` is gone or a struct with ``path``.
        path: The Parquet file.
        first_row: Number of the first row, from 0.

    Example:
        >>> batch = pa.RecordBatch.from_pydict({"image": [{"path": "cat.jpg"}, {"path": None}]})
        >>> rows = embedded(batch, "photos/list.parquet", first_row=7)
        >>> rows["image"].to_pylist(), rows["image_id"].to_pylist()
        (['list.parquet#row=7', 'list.parquet#row=8'], ['cat.jpg', 'list-00000008'])
    """
    name = posixpath.basename(path)
    stem = posixpath.splitext(name)[0]
    rows = range(first_row, first_row + batch.num_rows)
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    ids = pa.array([f"{stem}-{row:08d}" for row in rows], pa.string())
    if "image" in columns:
        paths = _texts(pc.struct_field(columns["image"], "path"), path, "image.path")
        ids = pc.if_else(pc.equal(pc.fill_null(paths, ""), ""), ids, paths)
    if "image_id" in columns:
        ids = pc.coalesce(_texts(columns["image_id"], path, "image_id"), ids)
    uris = pa.array([ParquetRow(name, row).uri for row in rows], pa.string())
    return pa.RecordBatch.from_pydict(columns | {"image": uris, "image_id": ids})


def image_names(batch: pa.RecordBatch, path: str, first_row: int) -> pa.StringArray:
    """The column ``image``.

    Raises:
        SessError: If it holds anything but text, or nothing in a row.
    """
    column = batch.column("image")
    if not _is_text(column.type) and not pt.is_null(column.type):
        raise SessError(
            f"{path}: column 'image' must hold paths, URIs or, in Parquet, bytes but holds "
            f"{column.type}"
        )
    images = _texts(column, path, "image")
    missing = np.flatnonzero(pc.equal(pc.fill_null(images, ""), ""))
    if len(missing):
        row = first_row + int(missing[0])
        raise SessError(f"{path}: row {row} names no image; fill the column 'image'")
    return images


def labels_of(batch: pa.RecordBatch, path: str) -> pa.ListArray | None:
    """Labels of every row as text, none where a cell is empty; ``None`` if there is no column.

    Example:
        >>> batch = pa.RecordBatch.from_pydict({"label": ["7", "cat| dog", None]})
        >>> labels_of(batch, "list.csv").to_pylist()
        [['7'], ['cat', 'dog'], []]
    """
    name = next((name for name in LABEL_COLUMNS if name in batch.schema.names), None)
    if name is None:
        return None
    column = _decoded(batch.column(name))
    if _is_text(column.type):
        column = pc.split_pattern(column, "|")
    if _is_list(column.type):
        lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0), np.int64)
        column = column.flatten()
    else:
        lengths = np.ones(len(column), np.int64)
    texts = pc.utf8_trim_whitespace(_texts(column, path, name))
    said = np.asarray(pc.not_equal(pc.fill_null(texts, ""), ""), bool)
    if not said.all():
        rows = np.repeat(np.arange(len(lengths)), lengths)[said]
        lengths, texts = np.bincount(rows, minlength=len(lengths)), texts.filter(pa.array(said))
    return pa.ListArray.from_arrays(offsets_of(lengths), texts)


def _sizes(batch: pa.RecordBatch, path: str) -> list[pa.Int32Array]:
    """Height and width where both are there, whole and positive; else null."""
    if not all(name in batch.schema.names for name in SIZE_COLUMNS):
        return [pa.nulls(batch.num_rows, pa.int32())] * 2
    found = [_numbers(batch.column(name), path, name) for name in SIZE_COLUMNS]
    known = np.ones(batch.num_rows, bool)
    for values in found:
        known &= (values >= 1) & (values < 2**31) & (values == np.floor(values))
    return [pa.array(np.where(known, one, 0).astype(np.int32), mask=~known) for one in found]


def _numbers(column: pa.Array, path: str, name: str) -> NDArray[np.float64]:
    try:
        values = _decoded(column).cast(pa.float64(), safe=False)
    except pa.ArrowException as error:
        raise SessError(f"{path}: column {name!r} must hold pixels: {one_line(error)}") from error
    found: NDArray[np.float64] = values.to_numpy(zero_copy_only=False)
    return found


def _texts(column: pa.Array, path: str, name: str) -> pa.StringArray:
    try:
        return _decoded(column).cast(pa.string())
    except pa.ArrowException:
        said = f"column {name!r} must hold text or numbers but holds {column.type}"
        raise SessError(f"{path}: {said}") from None


def _decoded(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pt.is_dictionary(column.type) else column


def _is_text(kind: pa.DataType) -> bool:
    if pt.is_dictionary(kind):
        kind = kind.value_type
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind))

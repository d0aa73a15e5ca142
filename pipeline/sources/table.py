"""A table of images: CSV, JSON lines or Parquet with the columns ``image`` and ``label(s)``."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from pipeline.files import file_system
from pipeline.records import Label, SourceRow
from sess_kernels.errors import SessError, one_line, unknown

_LABEL_COLUMNS = ("label", "labels")


def read_table(path: str) -> Iterator[SourceRow]:
    """Rows of a table whose images are files named relative to the table's folder, or URIs.

    Columns: ``image``; optional ``image_id`` (else the image's name as written); optional ``label``
    or ``labels`` (class index or name, several separated by ``|`` or as a list).

    Raises:
        SessError: If the table cannot be read or lacks the column ``image``.
    """
    folder = posixpath.dirname(file_system(path)[0].unstrip_protocol(path))
    for number, row in enumerate(_rows(path), start=2):
        image = row.get("image")
        if not image:
            raise SessError(f"{path}: row {number} names no image; fill the column 'image'")
        if not isinstance(image, str):
            kind = type(image).__name__
            raise SessError(f"{path}: column 'image' must hold paths or URIs but holds {kind}")
        absolute = "://" in image or image.startswith("/")
        uri = image if absolute else posixpath.join(folder, image)
        identity = row.get("image_id")
        yield SourceRow(str(image if identity is None else identity), uri, _labels(row))


def read_labels(path: str) -> dict[str, tuple[Label, ...]]:
    """Labels of a table by image, several rows of one image taken together.

    Raises:
        SessError: If the table cannot be read or has no labels.
    """
    found: dict[str, tuple[Label, ...]] = {}
    for row in _rows(path):
        labels = _labels(row)
        if labels is None:
            raise SessError(f"{path}: there is no column 'label' or 'labels'")
        key = str(row["image"])
        found[key] = tuple(dict.fromkeys((*found.get(key, ()), *labels)))
    if not found:
        raise SessError(f"{path} has no rows; it should list images and labels")
    return found


def _rows(path: str) -> Iterator[dict[str, Any]]:
    ending = posixpath.splitext(path)[1].lower()
    if ending not in _READERS:
        raise SessError(unknown("kind of table", ending or path, _READERS))
    try:
        files, inside = file_system(path)
        with files.open(inside, "rb") as file:
            table = _READERS[ending](file)
    except FileNotFoundError:
        raise SessError(f"table {path} does not exist; check the path") from None
    except (OSError, pa.ArrowException) as error:
        raise SessError(f"table {path} cannot be read: {one_line(error)}") from error
    if "image" not in table.column_names:
        columns = ", ".join(table.column_names)
        raise SessError(f"{path} needs a column 'image' but has: {columns}")
    for batch in table.to_batches():
        yield from batch.to_pylist()


def _read_csv(file: Any) -> pa.Table:
    # names and indices alike as text: "7" stays an index, "1|2" and "tabby" are not guessed at
    text = dict.fromkeys(("image", "image_id", *_LABEL_COLUMNS), pa.string())
    return pa_csv.read_csv(file, convert_options=pa_csv.ConvertOptions(column_types=text))


_READERS = {
    ".csv": _read_csv,
    ".jsonl": pa_json.read_json,
    ".parquet": pq.read_table,
}


def _labels(row: dict[str, Any]) -> tuple[Label, ...] | None:
    for column in _LABEL_COLUMNS:
        if column in row:
            value = row[column]
            parts = value.split("|") if isinstance(value, str) else value
            parts = parts if isinstance(parts, list) else [parts]
            return tuple(_label(part) for part in parts if part not in (None, ""))
    return None


def _label(value: Any) -> Label:
    text = str(value).strip()
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else text

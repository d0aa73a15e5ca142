"""A table of boxes: CSV, JSON lines or Parquet."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.sources import read_labels
from pipeline.sources.listed import Listed
from pipeline.sources.options import with_options
from pipeline.truth.base import Truth
from pipeline.truth.boxes import Box
from pipeline.truth.classes import ClassNumbers
from pipeline.truth.listed import ListedBox, ListedTruth
from pipeline.truth.names import ImageNames
from pipeline.truth.rows import read_rows
from sess_kernels.errors import SessError, unknown

CORNERS = ("x0", "y0", "x1", "y1")
"""Columns of a box."""

_UNITS = ("pixel", "fraction")
_LABELS = ("label", "labels")
_TRUE = frozenset({"1", "true", "yes", "1.0"})


def open_table(path: str, number: ClassNumbers) -> Truth:
    """Boxes of a table with the columns ``image``, ``x0``, ``y0``, ``x1`` and ``y1``.

    ``image`` is the id of an image in the run, or ends as it does. Boxes are half-open, in pixels.
    Optional are ``label`` (index or name, several separated by ``|`` or as a list), without which
    boxes are those of whatever class an image is labelled with, and ``difficult`` (0 or 1).

    Options:
        unit: ``fraction`` where corners are fractions of the image's width and height.
        labels: A table of labels by image, as ``--labels`` takes it, for boxes without.

    Raises:
        SessError: If a table cannot be read or lacks a column, or none of the classes is one of
            the run's.
    """
    name = f"table:{path}"
    path, options = with_options("table", path, ["unit", "labels"])
    unit = options.get("unit", _UNITS[0])
    if unit not in _UNITS:
        raise SessError(f"{name}: {unknown('unit', unit, _UNITS)}")
    line = "row" if posixpath.splitext(path)[1].lower() == ".parquet" else "line"
    listed = Listed()
    labels = _Labels(options["labels"]) if "labels" in options else None
    boxes = _boxes(path, line, labels, listed)
    return ListedTruth(name, path, boxes, number, listed, unit=unit, line=line)


class _Labels:
    """Labels of images by a table of their own."""

    def __init__(self, path: str) -> None:
        self.path = path
        found = read_labels(path)
        self._names, self._labels = ImageNames(found), list(found.values())

    def of(self, image: str) -> tuple[str, ...]:
        place = self._names.find(image)
        return () if place is None else self._labels[place]


def _boxes(path: str, line: str, labels: _Labels | None, listed: Listed) -> Iterator[ListedBox]:
    for number, row in read_rows(path, ("image", *CORNERS), listed):
        place = f"{path}: {line} {number}"
        image = str(row.get("image") or "").strip()
        box = _box(row)
        if not image:
            listed.fault(f"{place} names no image; it is left out")
            continue
        if box is None:
            shown = ", ".join(str(row.get(name)) for name in CORNERS)
            listed.fault(f"{place}: ({shown}) is no box of four numbers; it is left out")
            continue
        column = next((name for name in _LABELS if name in row), None)
        if labels is None and column is None:
            yield ListedBox(number, image, None, box, _is_true(row))
            continue
        said = labels.of(image) if labels else _texts(row[column or ""])
        if not said:
            where = f" in {labels.path}" if labels else ""
            listed.fault(f"{place}: {image} has no label{where}; it is left out")
        for label in said:
            yield ListedBox(number, image, label, box, _is_true(row))


def _box(row: Mapping[str, Any]) -> Box | None:
    try:
        left, top, right, bottom = (float(row[name]) for name in CORNERS)
    except (KeyError, TypeError, ValueError):
        return None
    box = (left, top, right, bottom)
    return box if all(map(math.isfinite, box)) else None


def _texts(value: Any) -> list[str]:
    """Labels in a cell: text with bars, a list, or an index."""
    if isinstance(value, str):
        value = value.split("|")
    found = value if isinstance(value, list) else [value]
    texts = (str(one).strip() for one in found if one is not None)
    return list(dict.fromkeys(filter(None, texts)))


def _is_true(row: Mapping[str, Any]) -> bool:
    return str(row.get("difficult") or "").strip().lower() in _TRUE

"""Where a source is not the one that was planned."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.files import Folder
from pipeline.labels import LabelResolver
from pipeline.records import PLAN_SCHEMA, TABLE_ROWS
from pipeline.scheduler import Plan, read_plan
from pipeline.streams import equal_tables


def first_difference(
    tables: Iterable[pa.Table], folder: Folder, plan: Plan, resolve: LabelResolver | None
) -> str | None:
    """The first row in which a source is not what was planned, in words.

    Args:
        tables: Rows of ``records.SOURCE_SCHEMA``.
        folder: Where the plan is.
        plan: The plan.
        resolve: Turns labels into class indices; ``None`` if the classes are predicted.

    Returns:
        ``row N: ...``; ``None`` if ids, URIs, classes, and the sizes that the source tells, are
        those of the plan.

    Raises:
        SessError: If labels cannot be resolved.
    """
    rows = equal_tables(tables, TABLE_ROWS)  # cut as the files of the plan are
    for part, (new, old) in enumerate(zip_longest(rows, read_plan(folder, plan.files))):
        n_new, n_old = (0 if one is None else one.num_rows for one in (new, old))
        both = min(n_new, n_old)
        found = _difference(new.slice(0, both), old.slice(0, both), resolve) if both else None
        if found is None and n_new > both:
            found = both, f"the source has image {_id(new, both)}, OUT was planned without it"
        if found is None and n_old > both:
            found = both, f"the source has no more, OUT was planned with image {_id(old, both)}"
        if found is not None:
            return f"row {part * TABLE_ROWS + found[0]}: {found[1]}"
    return None


def _difference(
    new: pa.Table, old: pa.Table, resolve: LabelResolver | None
) -> tuple[int, str] | None:
    """The first row in which tables of equal length differ, and how."""
    columns = {"image": (new["image_id"], old["image_id"]), "URI": (new["uri"], old["uri"])}
    if resolve is not None:
        ids, labels = (new[name].combine_chunks() for name in ("image_id", "labels"))
        classes = pa.chunked_array([resolve(ids, labels)]).cast(PLAN_SCHEMA.field("labels").type)
        columns["classes"] = classes, old["labels"]
    told = pc.and_(pc.is_valid(new["height"]), pc.is_null(old["error"]))
    for name in ("height", "width"):
        columns[name] = pc.if_else(told, new[name], old[name]), old[name]
    firsts = ((_first(*pair), name) for name, pair in columns.items())
    found = [(row, name) for row, name in firsts if row is not None]
    if not found:
        return None
    row, name = min(found, key=lambda one: one[0])
    new_value, old_value = (column[row].as_py() for column in columns[name])
    what = name if name == "image" else f"for image {_id(new, row)} the {name}"
    return row, f"the source has {what} {new_value!r}, OUT was planned with {old_value!r}"


def _first(new: pa.ChunkedArray, old: pa.ChunkedArray) -> int | None:
    if new.equals(old):
        return None
    pairs = zip(new.to_pylist(), old.to_pylist(), strict=True)
    return next(row for row, (one, other) in enumerate(pairs) if one != other)


def _id(table: pa.Table, row: int) -> str:
    return repr(table["image_id"][row].as_py())

"""Rows of a source from Python lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import pyarrow as pa

from pipeline.records import SOURCE_SCHEMA, TABLE_ROWS


class Row(NamedTuple):
    """An image of a source; ``labels`` is ``None`` where the source carries none."""

    image_id: str
    uri: str
    labels: Sequence[str] | None = None


def table_of(
    ids: Sequence[str], uris: Sequence[str], labels: Sequence[Sequence[str] | None] | None = None
) -> pa.Table:
    """A table of ``records.SOURCE_SCHEMA`` whose sizes are not told.

    Example:
        >>> table_of(["a.jpg"], ["/photos/a.jpg"], [["cat"]]).to_pylist()[0]["labels"]
        ['cat']
    """
    columns = {"image_id": ids, "uri": uris, "labels": labels or [None] * len(ids)}
    sizes = [None] * len(ids)
    return pa.table(columns | {"height": sizes, "width": sizes}, SOURCE_SCHEMA)


def tables_of(rows: Iterable[Row]) -> Iterator[pa.Table]:
    """Tables of at most ``records.TABLE_ROWS`` rows, made as they are asked for."""
    stream = iter(rows)
    while found := list(islice(stream, TABLE_ROWS)):
        ids, uris, labels = zip(*found, strict=True)
        yield table_of(ids, uris, labels)

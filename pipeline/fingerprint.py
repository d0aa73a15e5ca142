"""The fingerprint of a dataset: one number for all that a source lists."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.strings import raw_strings

_STREAMS = ("image_id", "uri", "labels", "height", "width")


class Fingerprint:
    """SHA-256 over ids, URIs, labels and given sizes in their order.

    Every column is hashed as two streams, lengths and bytes, so that it does not matter how the
    rows are cut into tables.

    Example:
        >>> rows = {"image_id": ["a", "b"], "uri": ["/a", "/b"], "labels": [["1"], None]}
        >>> table = pa.table(rows | {"height": [2, None], "width": [3, None]})
        >>> found = Fingerprint()
        >>> list(found.watch([table.slice(0, 1), table.slice(1)])) != []
        True
        >>> found.hexdigest() == fingerprint([table])
        True
    """

    def __init__(self) -> None:
        streams = [*_STREAMS, *(f"{name} lengths" for name in _STREAMS[:3]), "labels of a row"]
        self._streams = {name: hashlib.sha256() for name in streams}

    def watch(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Hand on tables of ``records.SOURCE_SCHEMA`` and take them into the fingerprint."""
        for table in tables:
            for batch in table.to_batches():
                self._update(batch)
            yield table

    def hexdigest(self) -> str:
        """The fingerprint of the tables so far."""
        whole = hashlib.sha256()
        for stream in self._streams.values():
            whole.update(stream.digest())
        return whole.hexdigest()

    def _update(self, batch: pa.RecordBatch) -> None:
        for name in ("image_id", "uri"):
            self._update_texts(name, batch.column(name))
        for name in ("height", "width"):
            self._update_numbers(name, np.asarray(pc.fill_null(batch.column(name), 0)))
        labels = batch.column("labels")
        counts = pc.fill_null(pc.list_value_length(labels), -1)  # none carried, not an empty list
        self._update_numbers("labels of a row", np.asarray(counts))
        self._update_texts("labels", labels.flatten())

    def _update_texts(self, name: str, texts: pa.StringArray) -> None:
        offsets, content = raw_strings(texts)
        self._update_numbers(f"{name} lengths", np.diff(offsets))
        self._streams[name].update(content.data)

    def _update_numbers(self, name: str, values: NDArray[np.int32]) -> None:
        self._streams[name].update(np.ascontiguousarray(values, "<i4").data)


def fingerprint(tables: Iterable[pa.Table]) -> str:
    """The fingerprint of a source's tables, see ``Fingerprint``."""
    found = Fingerprint()
    for _ in found.watch(tables):
        pass
    return found.hexdigest()

"""Commit of written rows: a file of ``OUT/maps`` counts when its marker says so.

First ``OUT/checkpoint/NAME.pending.parquet`` is written with the numbers of the rows, then
``OUT/maps/NAME-0.parquet`` with the rows, then the marker is renamed to ``NAME.parquet``. That is
how Ray Data's checkpointed writes go, so one engine goes on where another has stopped.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.files import Folder
from pipeline.layout import CHECKPOINT_FOLDER, MAPS_FOLDER
from pipeline.records import FAILED
from pipeline.stores import open_file
from pipeline.streams import ahead

ROW = "row"
_PENDING = ".pending.parquet"
_READERS = 32


def committed(out: Folder) -> list[str]:
    """Names of the files in ``OUT/maps`` that are committed.

    Example:
        >>> committed(Folder.of("nowhere"))
        []
    """
    data = (out / MAPS_FOLDER).names()  # before the markers: what is renamed now counts already
    pending = {_stem(name) for name in _markers(out) if name.endswith(_PENDING)}
    return [name for name in data if name.endswith(".parquet") and _stem(name) not in pending]


def read_committed(out: Folder, columns: list[str]) -> Iterator[pa.Table]:
    """Some columns of the committed rows, one table a file, read side by side."""
    folder = out / MAPS_FOLDER
    yield from ahead(lambda name: _columns(folder, name, columns), committed(out), _READERS)


def done_rows(out: Folder, n_rows: int) -> NDArray[np.uint8]:
    """The rows that are committed, one bit each, as ``numpy.packbits`` packs them.

    Args:
        out: Folder of the run.
        n_rows: Rows of the plan.
    """
    done = np.zeros(-(-n_rows // 8) * 8, bool)
    folder = out / CHECKPOINT_FOLDER

    def read(name: str) -> pa.Table:
        return pq.read_table(io.BytesIO(folder.read(name)))

    names = [name for name in _markers(out) if not name.endswith(_PENDING)]
    for table in ahead(read, names, _READERS):
        done[table[ROW].to_numpy()] = True
    return np.packbits(done)


def left_of(rows: NDArray[np.int64], done: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of some rows are not done yet.

    Example:
        >>> left_of(np.array([0, 9]), np.packbits([False] * 9 + [True] * 7)).tolist()
        [True, False]
    """
    bits = done[rows >> 3] >> (7 - (rows & 7)).astype(np.uint8)
    left: NDArray[np.bool_] = (bits & 1) == 0
    return left


def commit(out: Folder, name: str, rows: pa.Table) -> None:
    """Write rows to ``OUT/maps`` so that they count as a whole or not at all."""
    markers = out / CHECKPOINT_FOLDER
    markers.write(name + _PENDING, _parquet(rows.select([ROW])))
    (out / MAPS_FOLDER).write(f"{name}-0.parquet", _parquet(rows))
    markers.rename(name + _PENDING, f"{name}.parquet")


def recover(out: Folder) -> None:
    """Remove what a run that died has left half written; its rows are done again.

    A marker that is both pending and committed is of a write that was repeated when the run died.
    """
    markers, data = out / CHECKPOINT_FOLDER, out / MAPS_FOLDER
    names = _markers(out)
    pending = {_stem(name) for name in names if name.endswith(_PENDING)}
    sure = {_stem(name) for name in names if not name.endswith(_PENDING)} - pending
    files = data.names()
    written = {_stem(name) for name in files}
    for stem in pending | (sure - written):
        markers.remove(f"{stem}.parquet")
    for name in files:
        if _stem(name) not in sure:
            data.remove(name)
    for stem in pending:  # last: if this is broken off, it begins anew
        markers.remove(stem + _PENDING)


def forget_failed(out: Folder) -> int:
    """Take the failed rows out of what is committed, so that they are done again; their number.

    A file is rewritten under a pending marker: broken off, all of its rows are done again.
    """
    markers, data = out / CHECKPOINT_FOLDER, out / MAPS_FOLDER
    total = 0
    for name in committed(out):
        status = _columns(data, name, ["status"])["status"]
        failed = pc.sum(pc.equal(status, FAILED)).as_py() or 0
        if not failed:
            continue
        rows = pq.read_table(io.BytesIO(data.read(name)))
        kept = rows.filter(pc.not_equal(rows["status"], FAILED))
        stem = _stem(name)
        markers.rename(f"{stem}.parquet", stem + _PENDING)
        data.remove(name)
        if kept.num_rows:
            commit(out, stem, kept)
        else:
            markers.remove(stem + _PENDING)
        total += failed
    return total


def _columns(folder: Folder, name: str, columns: list[str]) -> pa.Table:
    """Some columns of a file, and no bytes of the others: most of a file are maps."""
    with open_file(f"{folder.uri}/{name}") as file:
        return pq.read_table(file, columns=columns)


def _markers(out: Folder) -> list[str]:
    return (out / CHECKPOINT_FOLDER).names()


def _stem(name: str) -> str:
    """What a file of rows and its markers share."""
    if name.endswith(_PENDING):
        return name.removesuffix(_PENDING)
    base = name.removesuffix(".parquet")
    head, dash, tail = base.rpartition("-")
    return head if dash and tail.isdigit() else base


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content

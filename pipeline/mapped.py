"""The maps of a run as two files of this machine that every process maps into its memory.

Parquet is read a group of rows at a time; training asks for one map here and one there. So what is
committed is copied once: the maps as they are stored one behind the other (``STATE.bin``), and a
table of where each lies (``STATE.arrow``). STATE stands for the committed files with sizes and
times, so that a run that has grown is copied anew.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq

from pipeline.commit import ROW, committed
from pipeline.files import Folder
from pipeline.layout import MAPS_FOLDER, RUN_FILE
from pipeline.nearby import alone, cache_folder
from pipeline.sinks.encode import encode_map
from pipeline.sinks.layouts import read_layout
from pipeline.stores import open_file, retrying
from pipeline.streams import ahead
from sess_kernels.errors import SessError

NUMBERS = ("height", "width", "class_index", "map_height", "map_width", "start", "size")
"""Whole numbers of a map: its sizes in pixels, as it is read and as it is stored, and where it lies
in STATE.bin; ``start`` is -1 where the map is the file ``path`` below OUT."""

_ONE_OF_FEW = pa.dictionary(pa.int32(), pa.string())
INDEX_SCHEMA = pa.schema(
    [
        (ROW, pa.int64()),
        ("numbers", pa.list_(pa.int64(), len(NUMBERS))),  # together: one look finds them
        ("score", pa.float32()),
        ("class_name", _ONE_OF_FEW),
        ("map_dtype", _ONE_OF_FEW),
        ("image_id", pa.large_string()),
        ("uri", pa.large_string()),
        ("path", pa.large_string()),
    ]
)
"""A map of the index; the rows have the order of the plan, whatever order they were written in."""

_LEFT_OUT = ("status", "error", "n_patches")
_READERS = 4
_OURS = re.compile(r"\.?[0-9a-f]{32}\.(bin|arrow)(\.[0-9a-f]{8})?")
_DAY_S = 86_400.0
_KEPT_DAYS = 30  # since somebody opened it
_OUTDATED_DAYS = 1  # of a run that has grown; a training may still start workers on it


@dataclass(frozen=True)
class MappedMaps:
    """The two files.

    Attributes:
        index: Table of ``INDEX_SCHEMA``, an Arrow file.
        maps: Stored maps, one behind the other.
    """

    index: Path
    maps: Path

    def open(self) -> tuple[pa.Table, memoryview]:
        """The index and the bytes of the maps, both mapped into memory.

        Raises:
            SessError: If they are gone.
        """
        try:
            for path in (self.index, self.maps):
                with suppress(PermissionError):  # the time tells that they are in use
                    os.utime(path)
            table = pa.ipc.open_file(pa.memory_map(str(self.index))).read_all()
            with self.maps.open("rb") as file:
                empty = os.fstat(file.fileno()).st_size == 0  # what cannot be mapped
                held = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError as error:
            raise SessError(
                f"{error.filename or self.index} is gone: the run has changed since, or the cache "
                "was emptied; make the SaliencyDataset anew"
            ) from error
        return table, memoryview(held)


def mapped(out: Folder, cache: Path | None = None) -> MappedMaps:
    """The committed maps of a run in files of this machine, copied if that is not done yet.

    Of the processes that ask at the same time one copies and the others wait.

    Args:
        out: Folder of the run, anywhere.
        cache: Where the files are kept; the cache of this user if not given.

    Raises:
        SessError: If OUT is no folder of a run, or the disk has no room for the copy.
    """
    names = committed(out)
    if not names and not out.exists(RUN_FILE):
        raise SessError(f"{out.uri} holds no maps; is it the --out of a `sess run`?")
    stored = _files(out, names)
    base = (cache or cache_folder()).absolute() / "maps-of-runs"
    folder = base / _key(out.uri)
    state = _key(*(f"{one.base_name} {one.size} {one.mtime_ns}" for one in stored))
    found = MappedMaps(folder / f"{state}.arrow", folder / f"{state}.bin")
    if not found.index.exists():
        with alone(f"{folder.name}-maps"):
            if not found.index.exists():
                _prune(base, folder)
                with _room(out, folder):
                    _copy(out, names, found)
    return found


def _files(out: Folder, names: list[str]) -> list[pa_fs.FileInfo]:
    folder = out / MAPS_FOLDER
    paths = [f"{folder.path}/{name}" for name in names]
    found: list[pa_fs.FileInfo] = retrying(lambda: folder.files.get_file_info(paths))
    return found


def _copy(out: Folder, names: list[str], to: MappedMaps) -> None:
    """Write the maps, and then the index: where it is, both are whole."""
    folder = Folder(str(to.maps.parent))
    whole = ahead(partial(_read, out), names, _READERS)
    with folder.writing(to.maps.name) as file:
        copy = _Copy(out, file, _is_plain(out))
        tables = [copy.append(rows) for rows in whole]
    index = pa.concat_tables([INDEX_SCHEMA.empty_table(), *tables]).unify_dictionaries()
    index = index.take(np.argsort(index[ROW].to_numpy(), kind="stable")).combine_chunks()
    with folder.writing(to.index.name) as file, pa.ipc.new_file(file, INDEX_SCHEMA) as writer:
        writer.write_table(index)


@contextmanager
def _room(out: Folder, cache: Path) -> Iterator[None]:
    """What to do if the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise SessError(
            f"{cache} has no room for the maps of {out.uri}; give cache=FOLDER on another disk"
        ) from error


def _read(out: Folder, name: str) -> pa.Table:
    """The rows of one file of the run, without patches."""
    try:
        with open_file(f"{(out / MAPS_FOLDER).uri}/{name}") as stored:
            parquet = pq.ParquetFile(stored)
            leaves = [parquet.schema.column(i).path for i in range(len(parquet.schema))]
            wanted = [one for one in leaves if ".patches" not in one and one not in _LEFT_OUT]
            return parquet.read(columns=wanted)
    except FileNotFoundError as error:
        raise SessError(
            f"{out.uri} has lost {name} while it was copied; wait until `sess retry` has ended"
        ) from error


@dataclass(frozen=True)
class _Copy:
    """The file that maps are copied to.

    Attributes:
        out: Folder of the run.
        file: The file.
        plain: Whether NPY files of the run hold a map each.
    """

    out: Folder
    file: BinaryIO
    plain: bool

    def append(self, rows: pa.Table) -> pa.Table:
        """Append the maps of some rows; where they are."""
        found = []
        for batch in rows.to_batches(max_chunksize=64):
            for row in batch.to_pylist():
                found += [self._entry(row, target) for target in row["targets"] or ()]
        return pa.Table.from_pylist(found, INDEX_SCHEMA)

    def _entry(self, row: dict[str, Any], target: dict[str, Any]) -> dict[str, Any]:
        """A row of the index; the map is appended unless it is a file that can be mapped itself."""
        content, path = target["map"]["bytes"], target["map"]["path"]
        height, width = target["map_shape"]
        found = row | target | {"map_height": height, "map_width": width, "path": None}
        if content is None and self.plain and self.out.is_local:
            found |= {"start": -1, "size": 0, "path": path}
        else:
            if content is None:
                values = read_layout(self.out.read(path), target["class_index"])
                content, found["map_dtype"] = encode_map(values, "float32"), "float32"
            found |= {"start": self.file.tell(), "size": len(content)}
            self.file.write(content)
        return found | {"numbers": [found[name] for name in NUMBERS]}


def _is_plain(out: Folder) -> bool:
    config = out.read_json(RUN_FILE)["config"] if out.exists(RUN_FILE) else {}
    return bool(config.get("npy_layout", "plain") == "plain")


def _prune(base: Path, folder: Path) -> None:
    """Remove what nobody has opened for long: of other runs, and of this one as it was."""
    for path in base.glob("*/*"):
        days = _OUTDATED_DAYS if path.parent == folder else _KEPT_DAYS
        with suppress(OSError):  # another process does the same
            if _OURS.fullmatch(path.name) and path.stat().st_mtime < time.time() - days * _DAY_S:
                path.unlink()


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

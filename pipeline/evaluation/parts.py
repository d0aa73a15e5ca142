"""``DEST/images``: rows of judged maps, written as they come and read again."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.files import Folder
from pipeline.streams import ahead

IMAGES_FOLDER = "images"

_ROWS = 1024  # of a file, aimed at
_SECONDS = 30.0  # after which what is there is written: that much is lost if the process dies
_READERS = 8


class PartWriter:
    """Writes rows to files that are whole or not there.

    Args:
        dest: Folder of the evaluation.
    """

    def __init__(self, dest: Folder) -> None:
        self._folder = dest / IMAGES_FOLDER
        self._folder.create()
        self._next = len(self._folder.names())
        self._held: list[pa.Table] = []
        self._since = time.monotonic()

    def add(self, rows: pa.Table) -> None:
        """Take all rows of some images."""
        self._held.append(rows)
        n_rows = sum(one.num_rows for one in self._held)
        if n_rows >= _ROWS or time.monotonic() - self._since > _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            buffer = io.BytesIO()
            pq.write_table(pa.concat_tables(self._held), buffer, compression="zstd")
            self._folder.write(f"part-{self._next:06d}.parquet", buffer.getvalue())
            self._next += 1
        self._held, self._since = [], time.monotonic()


def read_parts(dest: Folder, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The rows of an evaluation, file by file."""
    folder = dest / IMAGES_FOLDER

    def read(name: str) -> pa.Table:
        return pq.read_table(io.BytesIO(folder.read(name)), columns=columns)

    names = [name for name in folder.names() if name.endswith(".parquet")]
    yield from ahead(read, names, _READERS)


def judged_images(dest: Folder) -> set[str]:
    """Ids of the images that were judged already."""
    found: set[str] = set()
    for table in read_parts(dest, ["image_id"]):
        found.update(table["image_id"].to_pylist())
    return found

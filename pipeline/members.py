"""Images inside containers, by URI: a byte range of a tar, or a row of a Parquet file.

``FILE.tar#bytes=FIRST-LAST`` and ``FILE.parquet#row=N`` (its column ``image``) or
``FILE.parquet#row=N&column=NAME``; bytes and rows count from 0, the last byte is part of the image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from pipeline.parquet_cells import Cells
from pipeline.stores import open_file, read_bytes

IMAGE_COLUMN = "image"
"""The column of a Parquet file that holds images, if none is said."""

_RANGE = re.compile(r"(.+\.tar)#bytes=(\d{1,18})-(\d{1,18})", re.IGNORECASE | re.DOTALL)
_ROW = re.compile(r"(.+\.parquet)#row=(\d{1,18})(?:&column=(.+))?", re.IGNORECASE | re.DOTALL)


class TarRange(NamedTuple):
    """An image in a tar that is not compressed.

    Attributes:
        file: URI of the tar.
        first: Its first byte.
        size: How many bytes it has.

    Example:
        >>> TarRange("s3://bucket/0.tar", 512, 100).uri
        's3://bucket/0.tar#bytes=512-611'
    """

    file: str
    first: int
    size: int

    @property
    def uri(self) -> str:
        """Its URI."""
        return f"{self.file}#bytes={self.first}-{self.first + self.size - 1}"


class ParquetRow(NamedTuple):
    """An image in a row of a Parquet file.

    Attributes:
        file: URI of the Parquet file.
        row: Number of the row, from 0.
        column: Column of bytes, or of structs with ``bytes`` and ``path``.

    Example:
        >>> ParquetRow("/data/train.parquet", 7, "img").uri
        '/data/train.parquet#row=7&column=img'
    """

    file: str
    row: int
    column: str = IMAGE_COLUMN

    @property
    def uri(self) -> str:
        """Its URI."""
        column = "" if self.column == IMAGE_COLUMN else f"&column={self.column}"
        return f"{self.file}#row={self.row}{column}"


def member_of(uri: str) -> TarRange | ParquetRow | None:
    """What a URI names inside a container; ``None`` if it names a file.

    Example:
        >>> member_of("/data/0.tar#bytes=512-611")
        TarRange(file='/data/0.tar', first=512, size=100)
        >>> member_of("/data/photo#row=1.jpg") is None
        True
    """
    if "#" not in uri:
        return None
    if found := _RANGE.fullmatch(uri):
        first, last = int(found[2]), int(found[3])
        return TarRange(found[1], first, max(last - first + 1, 0))
    if found := _ROW.fullmatch(uri):
        return ParquetRow(found[1], int(found[2]), found[3] or IMAGE_COLUMN)
    return None


def is_row(uri: str) -> bool:
    """Whether a URI names a row of a Parquet file, see ``RowReader``."""
    return "#" in uri and _ROW.fullmatch(uri) is not None


class Opened(Protocol):
    """An image of which parts are read."""

    def size(self) -> int:
        """Its bytes."""

    def read_at(self, nbytes: int, offset: int) -> bytes:
        """Bytes from a place."""

    def __enter__(self) -> Opened: ...

    def __exit__(self, *_: object) -> None: ...


def open_image(uri: str) -> Opened:
    """An image to read parts of: a file, or one inside a container.

    Raises:
        OSError: If it is missing or cannot be read.
    """
    member = member_of(uri)
    if member is None:
        file: Opened = open_file(uri)
        return file
    if isinstance(member, TarRange):
        return _Range(member)
    content: Opened = pa.BufferReader(read_image_bytes(uri))
    return content


def read_image_bytes(uri: str) -> bytes:
    """The encoded image of a URI, which may name one inside a container.

    Raises:
        OSError: If it is missing or cannot be read.
    """
    member = member_of(uri)
    if member is None:
        return read_bytes(uri)
    if isinstance(member, ParquetRow):
        with RowReader() as rows:
            return rows.read(uri)
    with _Range(member) as part:
        return part.read_at(member.size, 0)


def read_many(uris: Iterable[str]) -> Iterator[bytes | Exception]:
    """The encoded images of URIs in their order, or why one cannot be read; see ``RowReader``."""
    with RowReader() as rows:
        yield from rows.read_many(uris)


def together(uris: Sequence[str]) -> list[list[str]]:
    """URIs cut where one reader should not go on: rows of one Parquet file are not parted.

    Example:
        >>> together(["/a.jpg", "/b.jpg", "/t.parquet#row=0", "/t.parquet#row=1"])
        [['/a.jpg'], ['/b.jpg'], ['/t.parquet#row=0', '/t.parquet#row=1']]
    """

    def container(item: tuple[int, str]) -> int | str:
        number, uri = item
        return uri[: uri.rfind("#")] if is_row(uri) else number

    return [[uri for _, uri in part] for _, part in groupby(enumerate(uris), container)]


class RowReader:
    """Reads images, those in Parquet files forwards, a few rows at a time.

    Rows that are asked for in their order cost one pass over each row group in all, in however many
    calls they are: the place in the file is kept. A step back begins the row group again, so rows
    in any other order are right but may cost a pass each. What is held is a page of the file and 16
    images, whatever the size of the row group.
    """

    def __init__(self) -> None:
        self._cells: Cells | None = None

    def __enter__(self) -> RowReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, uri: str) -> bytes:
        """The encoded image of a URI.

        Raises:
            OSError: If it is missing or cannot be read; the row is named.
        """
        member = member_of(uri)
        if not isinstance(member, ParquetRow):
            return read_image_bytes(uri)
        if self._cells is None or self._cells.place != (member.file, member.column):
            self.close()
            self._cells = Cells(member.file, member.column)
        return _content(self._cells.read(member.row), uri, member.file)

    def read_many(self, uris: Iterable[str]) -> Iterator[bytes | Exception]:
        """The encoded images in the order of the URIs, or why one cannot be read."""
        for uri in uris:
            try:
                yield self.read(uri)
            except Exception as error:  # any store's and any file's fault is that of one row
                yield error

    def close(self) -> None:
        """Close the file that is open."""
        if self._cells is not None:
            self._cells.close()
        self._cells = None


def _content(cell: Any, uri: str, file: str) -> bytes:
    """The image in a cell: its bytes, or else those of the file that it names."""
    path = None
    if isinstance(cell, dict):
        cell, path = cell.get("bytes"), cell.get("path")
    if cell is None and path:
        inside = path.startswith("/") or "://" in path
        return read_bytes(path if inside else f"{file.rpartition('/')[0]}/{path}")
    if cell is None:
        raise OSError(f"{uri} holds no image: the cell is null")
    if not isinstance(cell, bytes):
        raise OSError(f"{uri} holds {type(cell).__name__}, not the bytes of an image")
    return cell


class _Range:
    """An image in a tar, read as a file is."""

    def __init__(self, member: TarRange) -> None:
        self._member = member
        self._file = open_file(member.file)
        if member.first + member.size > self._file.size():
            size = self._file.size()
            self._file.close()
            raise OSError(f"{member.uri} is beyond the end of the file at {size}; it was cut short")

    def size(self) -> int:
        return self._member.size

    def read_at(self, nbytes: int, offset: int) -> bytes:
        wanted = min(nbytes, self._member.size - offset)
        found: bytes = self._file.read_at(wanted, self._member.first + offset)
        return found

    def __enter__(self) -> _Range:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

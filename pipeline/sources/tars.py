"""What is in a tar, from its headers: the data in between is passed over."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import IO, Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.fs as pa_fs

from pipeline.stores import Held, file_system, open_file

_BLOCK = 512
_FIRST_READ = 2**14  # bytes; a few headers and small members
_LARGEST_READ = 2**23  # of a store; so much takes about as long as two answers
_LARGEST_HERE = 2**14  # of a disk: it answers at once
_NEAR = 2**20  # bytes between two headers, up to which a store is read through
_GROWTH = 4
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd
_MAX_HEADER = 2**24  # bytes; a longer one is damaged


class Member(NamedTuple):
    """A file in a tar: its name, and where its content lies."""

    name: str
    offset: int
    size: int


class Tar:
    """The files in a tar that is not compressed, in their order.

    Args:
        uri: Path or URI.

    Raises:
        OSError: If it is missing or cannot be read.
        tarfile.TarError: If it is no such tar; of ``members``, too: where it is damaged or ends.

    Example:
        >>> import tarfile, tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        ...     with tarfile.open(file.name, "w") as tar:
        ...         tar.add(tarfile.__file__, "tarfile.py")
        ...     with Tar(file.name) as tar:
        ...         [member.name for member in tar.members()]
        ['tarfile.py']
    """

    def __init__(self, uri: str) -> None:
        here = isinstance(file_system(uri)[0], pa_fs.LocalFileSystem)
        self._file = open_file(uri)
        self._bytes = _Ahead(self._file, _LARGEST_HERE if here else _LARGEST_READ)
        try:
            # names that are not UTF-8 are told as text that can be stored
            self._tar: Any = tarfile.TarFile(
                fileobj=cast(IO[bytes], self._bytes), errors="backslashreplace"
            )
        except tarfile.TarError as error:
            packed = self._file.read_at(6, 0).startswith(_COMPRESSED)
            self._file.close()
            said = "it is compressed; decompress it" if packed else f"byte 0: {error}"
            raise tarfile.ReadError(said) from error

    def __enter__(self) -> Tar:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def members(self) -> Iterator[Member]:
        """Regular files; folders and links are passed over."""
        last = -1
        while (one := self._next()) is not None:
            if one.size < 0 or one.offset <= last:
                raise tarfile.ReadError(f"byte {one.offset}: a header that leads back")
            last = one.offset
            self._tar.members.clear()  # or each is held until the end
            if not one.isreg() or one.issparse():
                continue
            if one.offset_data + one.size > self._bytes.end:
                raise tarfile.ReadError(f"byte {self._bytes.end}: it ends within {one.name}")
            yield Member(one.name, one.offset_data, one.size)
        self._check_end(self._tar.offset)

    def read(self, member: Member) -> bytes:
        """The content of a member."""
        self._bytes.seek(member.offset)
        return self._bytes.read(member.size)

    def _next(self) -> tarfile.TarInfo | None:
        at = self._tar.offset
        try:
            found: tarfile.TarInfo | None = self._tar.next()
        except tarfile.TarError as error:
            raise tarfile.ReadError(f"byte {at}: {error}") from error
        return found

    def _check_end(self, at: int) -> None:
        """Tell apart an end, as ``tarfile`` does not, and a place where no header is."""
        self._bytes.seek(at)
        block = self._bytes.read(_BLOCK)
        if block.count(0) == _BLOCK:
            return
        what = "there is no header" if len(block) == _BLOCK else "it ends without an end mark"
        raise tarfile.ReadError(f"byte {at}: {what}")


class _Ahead(Held):
    """A file read forwards in few requests.

    Where little lies between the parts that are wanted, all of it is read, in ever larger requests;
    where much does, a small part at a time.
    """

    def __init__(self, file: pa.NativeFile, largest: int) -> None:
        super().__init__(file.size())
        self._file, self._largest = file, largest
        self._next = _FIRST_READ

    @property
    def end(self) -> int:
        """Bytes of the file."""
        return self._size

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._size if size is None or size < 0 else size
        if wanted > _MAX_HEADER:
            raise tarfile.ReadError(f"byte {self._at}: a header of {wanted} bytes")
        return super().read(size)

    def _fetch(self, end: int) -> None:
        passed = self._at - (self._start + len(self._held))
        near = 0 <= passed <= _NEAR
        self._next = min(self._next * _GROWTH, self._largest) if near else _FIRST_READ
        self._start = self._at
        length = min(max(end - self._at, self._next), self._size - self._at)
        self._held = self._file.read_at(length, self._at)

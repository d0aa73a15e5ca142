"""Folders on any file system: files are whole or not there."""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import pyarrow as pa
import pyarrow.fs as pa_fs

from pipeline.stores import file_system, read_bytes, retrying

_TORN_S = (0.1, 0.4)  # pauses, while a file that is just replaced settles


@dataclass(frozen=True)
class Folder:
    """A folder on any file system, by its absolute path or URI.

    Example:
        >>> (Folder.of("s3://bucket/run") / "maps").uri
        's3://bucket/run/maps'
    """

    uri: str

    @classmethod
    def of(cls, uri: str | Path) -> Folder:
        """The folder of a path or URI; a relative path is one from here."""
        text = str(uri)
        protocol, mark, _ = text.partition("://")
        remote = bool(mark) and protocol != "file"
        return cls(text.rstrip("/") if remote else file_system(text)[1])

    def __truediv__(self, name: str) -> Folder:
        return Folder(f"{self.uri}/{name}")

    @property
    def files(self) -> pa_fs.FileSystem:
        """Its file system."""
        return file_system(self.uri)[0]

    @property
    def path(self) -> str:
        """Its path on that file system."""
        return file_system(self.uri)[1]

    @property
    def is_local(self) -> bool:
        """Whether it lies on a file system that is mounted here."""
        return isinstance(self.files, pa_fs.LocalFileSystem)

    def create(self) -> None:
        """Create it; where folders are part of names nothing happens."""
        if self.is_local:
            self.files.create_dir(self.path)

    def names(self) -> list[str]:
        """Names of the files directly in it, sorted; none if there is no such folder."""
        selector = pa_fs.FileSelector(self.path, allow_not_found=True)
        found = retrying(lambda: self.files.get_file_info(selector))
        files = (one.base_name for one in found if one.type == pa_fs.FileType.File)
        return sorted(name for name in files if not name.startswith("."))

    def is_empty(self) -> bool:
        """Whether nothing is in it but hidden files, or it does not exist."""
        selector = pa_fs.FileSelector(self.path, allow_not_found=True)
        found = retrying(lambda: self.files.get_file_info(selector))
        # a process that was killed leaves the file it was about to rename
        return all(one.base_name.startswith(".") for one in found)

    def exists(self, name: str) -> bool:
        """Whether it has a file of this name."""
        info = retrying(lambda: self.files.get_file_info(f"{self.path}/{name}"))
        return bool(info.type == pa_fs.FileType.File)

    def read(self, name: str) -> bytes:
        """The content of a file in it.

        Raises:
            OSError: If the file is missing or cannot be read.
        """
        return read_bytes(f"{self.uri}/{name}")

    def read_json(self, name: str) -> Any:
        """The value in a JSON file that may be replaced while it is read.

        A store is asked for the length first and then for as many bytes, which may be those of
        another file by then. What is no JSON is read again.

        Raises:
            OSError: If the file is missing or cannot be read.
            ValueError: If it holds no JSON.
        """
        for pause in _TORN_S:
            with suppress(ValueError):
                return json.loads(self.read(name))
            time.sleep(pause)
        return json.loads(self.read(name))

    def write(self, name: str, content: bytes, *, sync: bool = True) -> None:
        """Write a file that is never seen half written."""
        with self.writing(name, sync=sync) as file:
            file.write(content)

    @contextmanager
    def writing(self, name: str, *, sync: bool = True) -> Iterator[BinaryIO]:
        """A file that takes its name only when all is written, with no error in between.

        A mounted file system gets a file beside it that is renamed, a store the whole at once.

        Args:
            name: Path in the folder.
            sync: Wait until a disk has it, so that it outlives the machine, not just the process.
        """
        if self.is_local:
            with _renamed(Path(self.path) / name, sync) as file:
                yield file
            return
        buffer = io.BytesIO()
        yield buffer

        def put() -> None:
            with self.files.open_output_stream(f"{self.path}/{name}") as stream:
                stream.write(pa.py_buffer(buffer.getbuffer()))

        retrying(put)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            retrying(lambda: self.files.delete_file(f"{self.path}/{name}"))

    def rename(self, name: str, to: str) -> None:
        """Give a file in it another name; one of that name is replaced.

        A store copies and then deletes: whoever dies between leaves both names.
        """
        self._move(f"{self.path}/{name}", f"{self.path}/{to}")

    def move(self, name: str, to: Folder) -> None:
        """Move a file to another folder of the same file system."""
        to.create()
        self._move(f"{self.path}/{name}", f"{to.path}/{name}")

    def _move(self, source: str, target: str) -> None:
        def move() -> None:
            try:
                self.files.move(source, target)
            except OSError:
                found = self.files.get_file_info([source, target])
                if [one.type for one in found] != [pa_fs.FileType.NotFound, pa_fs.FileType.File]:
                    raise  # else an earlier try came through, and its answer did not

        retrying(move)

    def ignores_case(self) -> bool:
        """Whether ``A`` and ``a`` are one file in it; it must exist."""
        if not self.is_local:
            return False
        with tempfile.NamedTemporaryFile(prefix=".sess-a", dir=self.path) as probe:
            return Path(self.path, Path(probe.name).name.swapcase()).exists()

    def delete(self) -> None:
        """Delete it and all that it holds, if it is there."""
        with suppress(FileNotFoundError):
            retrying(lambda: self.files.delete_dir(self.path))


@contextmanager
def _renamed(path: Path, sync: bool) -> Iterator[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:200]}.{uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

"""File systems by URI, and reading from stores that falter: asked again, never cut short."""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import fsspec
import pyarrow as pa
import pyarrow.fs as pa_fs
import tenacity

from sess_kernels.errors import SessError, one_line

T = TypeVar("T")

STORE_FAULTS = (
    "AWS Error INTERNAL_FAILURE",
    "AWS Error NETWORK_CONNECTION",
    "AWS Error REQUEST_TIMEOUT",
    "AWS Error SERVICE_UNAVAILABLE",
    "AWS Error SLOW_DOWN",
    "AWS Error THROTTLING",
    r"AWS Error UNKNOWN \(HTTP status (429|5..)\)",  # answers without a body
)
"""Errors of S3 that may pass, as patterns of what Arrow says."""

_ATTEMPTS = 8  # with these pauses, about 20 s
_PAUSES = tenacity.wait_exponential_jitter(initial=0.2, max=8, jitter=0.2)
_MAY_PASS = (None, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET, errno.EAGAIN)
_STORE_FAULT = re.compile("|".join(STORE_FAULTS))
_CONNECT_S = 10.0
_ANSWER_S = 30.0  # Arrow's own 3 s are short for the copy of a large file


def file_system(uri: str) -> tuple[pa_fs.FileSystem, str]:
    """The file system of a path or URI, and the path there.

    Local paths and ``s3://``, ``gs://`` are Arrow's own; others are those of fsspec. S3 takes
    keys, region and endpoint from the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``).

    Raises:
        SessError: If the protocol is unknown or its package is not installed.

    Example:
        >>> file_system("/data/photos")[1]
        '/data/photos'
    """
    protocol, mark, rest = uri.partition("://")
    if not mark or protocol == "file":
        return _local(), os.path.abspath(rest if mark else uri)  # noqa: PTH100  (may hold "..")
    if protocol == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        return _s3(endpoint, region), rest.rstrip("/")
    if protocol == "gs":
        return _gcs(), rest.rstrip("/")
    try:
        files, inside = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise SessError(f"{uri} cannot be opened: {one_line(error)}") from error
    return pa_fs.PyFileSystem(pa_fs.FSSpecHandler(files)), inside


@lru_cache(maxsize=1)
def _local() -> pa_fs.FileSystem:
    return pa_fs.LocalFileSystem()


@lru_cache(maxsize=1)
def _gcs() -> pa_fs.FileSystem:
    return pa_fs.GcsFileSystem()


@lru_cache
def _s3(endpoint: str | None, region: str | None) -> pa_fs.FileSystem:
    return pa_fs.S3FileSystem(
        endpoint_override=endpoint,  # Arrow does not look for it in the environment
        region=region,
        connect_timeout=_CONNECT_S,
        request_timeout=_ANSWER_S,
        allow_delayed_open=True,  # one request for a small file, not three
    )


def retrying(call: Callable[[], T]) -> T:
    """What ``call`` returns; called again, after growing pauses, while an error may pass.

    Raises:
        OSError: What it raised last. A missing file, missing rights or a full disk at once.

    Example:
        >>> answers = iter([OSError("AWS Error SLOW_DOWN"), 7])
        >>> def ask():
        ...     answer = next(answers)
        ...     if isinstance(answer, Exception):
        ...         raise answer
        ...     return answer
        >>> retrying(ask)
        7
    """
    again = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_may_pass),
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=_PAUSES,
        reraise=True,
    )
    return again(call)


def _may_pass(error: BaseException) -> bool:
    if not isinstance(error, OSError) or isinstance(error, FileNotFoundError):
        return False
    text = str(error)
    if "AWS Error" in text:
        return _STORE_FAULT.search(text) is not None
    return error.errno in _MAY_PASS and "No credentials" not in text


def read_bytes(uri: str) -> bytes:
    """The content of a file; a store's answer that is cut short is asked for again.

    Raises:
        OSError: If the file is missing or cannot be read.
    """
    files, path = file_system(uri)

    def read() -> bytes:
        with files.open_input_file(path) as file:
            return _exactly(file.read, file.size(), uri)

    return retrying(read)


def open_file(uri: str) -> pa.NativeFile:
    """A file to read parts of; each part that does not come whole is asked for again.

    Raises:
        OSError: If the file is missing or cannot be read; when parts are read, too.
    """
    files, path = file_system(uri)
    file = retrying(lambda: files.open_input_file(path))
    if isinstance(files, pa_fs.LocalFileSystem):
        return file
    return pa.PythonFile(_Patient(file, uri), mode="r")


class Positioned(io.RawIOBase):
    """A readable file with a position, for libraries that want Python's; ``read`` is to be added.

    Args:
        size: Bytes of the file.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The position in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Take another position."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at


class Held(Positioned):
    """A file of which a part is held; ``_fetch(end)`` holds what is wanted, from here at least.

    Args:
        size: Bytes of the file.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._start = 0
        self._held = b""

    def read(self, size: int | None = -1) -> bytes:
        """Bytes from the position on."""
        wanted = self._size if size is None or size < 0 else self._at + size
        end = min(wanted, self._size)
        if end <= self._at:
            return b""
        if self._at < self._start or end > self._start + len(self._held):
            self._fetch(end)
        found = self._held[self._at - self._start : end - self._start]
        self._at = end
        return found

    def _fetch(self, end: int) -> None:
        raise NotImplementedError


class _Patient(Positioned):
    """A file of a store, read with ``retrying``."""

    def __init__(self, file: pa.NativeFile, uri: str) -> None:
        super().__init__(file.size())
        self._file, self._uri = file, uri

    def read(self, size: int | None = -1) -> bytes:
        left = max(self._size - self._at, 0)
        wanted = left if size is None or size < 0 else min(size, left)

        def read() -> bytes:
            return _exactly(lambda: self._file.read_at(wanted, self._at), wanted, self._uri)

        found = retrying(read) if wanted else b""
        self._at += wanted
        return found

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _exactly(read: Callable[[], bytes], size: int, uri: str) -> bytes:
    """Bytes that are read, if they are as many; faults of any library of fsspec as OSError."""
    try:
        content = read()
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise OSError(f"{uri} cannot be read: {one_line(error)}") from error
    if len(content) != size:
        raise OSError(f"{uri}: {len(content)} of {size} bytes came")
    return content

"""Files that are whole or not there, and names that stay inside their folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote
from uuid import uuid4

import fsspec

from sess_kernels.errors import SessError, one_line

_MAX_NAME = 200  # bytes; file systems end at 255, and endings are added


def file_system(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a path or URI, and the path there.

    Raises:
        SessError: If the protocol is unknown or its package is not installed.

    Example:
        >>> file_system("/data/photos")[1]
        '/data/photos'
    """
    try:
        found: tuple[fsspec.AbstractFileSystem, str] = fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise SessError(f"{path} cannot be opened: {one_line(error)}") from error
    return found


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name only when all is written and on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:_MAX_NAME]}.{uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def safe_name(image_id: str) -> str:
    """A relative path for an image id that stays inside its folder, different for each id.

    Plain ids keep their look; what a path cannot hold is percent-encoded, and a part that is too
    long ends in its hash.

    Example:
        >>> safe_name("train/cat 1.jpg"), safe_name("../etc"), safe_name("/a")
        ('train/cat 1.jpg', '%2E%2E/etc', '%2F/a')
    """
    return "/".join(_safe_part(part) for part in image_id.split("/"))


def _safe_part(part: str) -> str:
    if not part:
        return "%2F"  # nothing else becomes this: a percent sign in an id is encoded itself
    if set(part) == {"."}:
        return part.replace(".", "%2E")
    name = quote(part, safe=" !#$&'()+,;=@[]{}~", errors="surrogateescape")
    if len(name) > _MAX_NAME:
        name = f"{name[: _MAX_NAME - 65]}-{hashlib.sha256(name.encode()).hexdigest()}"
    return name

"""What a machine fetches once: a file of weights, whichever of its processes asks first."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow.fs as pa_fs
import torch
from filelock import FileLock

from pipeline.files import Folder
from pipeline.stores import file_system, read_bytes, retrying

_PASSING = ("url", "time")  # what a redirect leads to now, and the last access


def nearby(uri: str) -> Path:
    """A local file with what a URI holds now.

    It is kept under what tells one version from the next: size, time of the last change, and
    whatever else the store says. A changed file is fetched again.

    Raises:
        OSError: If the file is missing or cannot be read.
    """
    files, path = file_system(uri)
    if isinstance(files, pa_fs.LocalFileSystem):
        return Path(path)
    kept = cache_folder()
    name = f"{_key(uri, retrying(lambda: _version(files, path)))}.pt"
    if not (kept / name).exists():
        with alone(name):
            if not (kept / name).exists():
                Folder(str(kept)).write(name, read_bytes(uri))
    return kept / name


@contextmanager
def first_alone(name: str) -> Iterator[None]:
    """Load a model whose library may fetch its weights: the first time alone, then side by side.

    Who comes while the first one loads waits, and finds what it fetched. If the library's own cache
    is emptied later, its files may be fetched several times; it writes them whole.
    """
    key = _key(name, torch.hub.get_dir())
    known = cache_folder() / f"{key}.loaded"
    if not known.exists():
        with alone(key):
            if not known.exists():
                yield
                known.touch()
                return
    yield


def cache_folder() -> Path:
    """Where this machine keeps what it has fetched: a folder that only this user may write to."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    for folder in (Path(base) / "sess", Path(tempfile.gettempdir()) / f"sess-{os.getuid()}"):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = folder.lstat()
        except OSError:  # no home, or not ours
            continue
        # in a folder for all, another user may have made it first
        if found.st_uid == os.getuid() and folder.is_dir() and os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.mkdtemp(prefix="sess-"))


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Keep other processes of this machine out; a lock ends with the process that holds it."""
    lock = FileLock(cache_folder() / f"{name}.lock")
    with suppress(OSError, NotImplementedError):  # no locks there: at worst fetched twice
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _version(files: pa_fs.FileSystem, path: str) -> str:
    if isinstance(files, pa_fs.PyFileSystem):  # of fsspec: HTTP tells an ETag but no time
        told = files.handler.fs.info(path)
        return str(sorted(item for item in told.items() if item[0] not in _PASSING))
    info = files.get_file_info(path)
    return f"{info.size} {info.mtime_ns}"


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

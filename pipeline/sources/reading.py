"""Folders and text files of a source: what is in them, and what to say if they are not there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow.fs as pa_fs

from pipeline.files import Folder
from pipeline.sources.folder import is_image, names_in, walk
from pipeline.stores import read_bytes, retrying
from pipeline.streams import ahead
from sess_kernels.errors import SessError, one_line

AHEAD = 16
"""Files or folders that are asked for at a time: a store answers late, but many at once."""


class Entries(NamedTuple):
    """Names of what lies directly in a folder, each list sorted; what is hidden is left out."""

    folders: list[str]
    files: list[str]


def entries(folder: Folder) -> Entries:
    """What lies directly in a folder; a link to a folder is one.

    Raises:
        SessError: If it does not exist or cannot be read.
    """
    found = Entries([], [])
    for name, is_folder in names_in(folder.files, folder.path):
        if not name.startswith("."):
            (found.folders if is_folder else found.files).append(name.rstrip("/"))
    if folder.is_local:
        inside = Path(folder.path).iterdir()
        links = (one for one in inside if one.is_symlink() and one.is_dir())
        found.folders.extend(one.name for one in links if not one.name.startswith("."))
    return Entries(sorted(found.folders), sorted(found.files))


def is_folder(folder: Folder) -> bool:
    """Whether there is such a folder."""
    info = retrying(lambda: folder.files.get_file_info(folder.path))
    return bool(info.type == pa_fs.FileType.Directory)


def open_folder(kind: str, path: str) -> Folder:
    """The folder of a source.

    Args:
        kind: Kind of the source, for messages.
        path: Its path or URI.

    Raises:
        SessError: If there is no such folder.

    Example:
        >>> open_folder("voc", "/no/VOC2012")
        Traceback (most recent call last):
        ...
        sess_kernels.errors.SessError: voc:/no/VOC2012: there is no such folder; check the path
    """
    folder = Folder.of(path)
    if not is_folder(folder):
        raise SessError(f"{kind}:{path}: there is no such folder; check the path")
    return folder


def images_below(folder: Folder, names: Iterable[str]) -> Iterator[tuple[str, Iterator[str]]]:
    """The images of each of some folders in a folder, at any depth, by their paths from it.

    Of a store several folders are listed at a time, of a disk one directory.
    """

    def below(name: str) -> tuple[str, Iterator[str]]:
        return name, filter(is_image, walk(folder.files, folder.path, f"{name}/"))

    def whole(name: str) -> tuple[str, Iterator[str]]:
        return name, iter(list(below(name)[1]))

    return map(below, names) if folder.is_local else ahead(whole, names, AHEAD)


def read_text(uri: str) -> str:
    """A text file.

    Raises:
        SessError: If it is missing, cannot be read or is not UTF-8.
    """
    try:
        return read_bytes(uri).decode("utf-8-sig")
    except FileNotFoundError:
        raise SessError(f"{uri} does not exist; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SessError(f"{uri} cannot be read: {one_line(error)}") from error

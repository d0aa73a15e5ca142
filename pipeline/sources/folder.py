"""A folder of images, at any depth; it carries no labels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pa_fs

from pipeline.files import Folder
from pipeline.images import EXTENSIONS
from pipeline.records import TABLE_ROWS
from pipeline.sources.listed import Listed
from pipeline.sources.rows import table_of
from pipeline.stores import retrying
from sess_kernels.errors import SessError, one_line


def read_folder(path: str, _: Listed) -> Iterator[pa.Table]:
    """Every file below ``path`` that by its name is an image, in the order of the names.

    The image id is the path below the folder, with its extension, so that no two are equal. One
    directory at a time is listed; links to directories are not followed.

    Raises:
        SessError: If there is no such folder or no image in it.
    """
    folder = Folder.of(path)
    kind = retrying(lambda: folder.files.get_file_info(folder.path)).type
    if kind != pa_fs.FileType.Directory:
        what = "is a file, not a folder" if kind == pa_fs.FileType.File else "does not exist"
        raise SessError(f"folder {path} {what}; give a folder of images or a table:FILE.csv")
    names = (name for name in walk(folder.files, folder.path, "") if is_image(name))
    empty = True
    while found := list(islice(names, TABLE_ROWS)):
        empty = False
        yield table_of(found, [f"{folder.uri}/{name}" for name in found])
    if empty:
        raise SessError(f"folder {path} holds no image (.jpg, .png, ...); is it the right one?")


def walk(files: pa_fs.FileSystem, root: str, below: str) -> Iterator[str]:
    """Paths of all files below a directory, relative to the root, sorted as whole paths are."""
    for name, is_folder in sorted(names_in(files, f"{root}/{below}")):
        if is_folder:
            yield from walk(files, root, below + name)
        else:
            yield below + name


def names_in(files: pa_fs.FileSystem, path: str) -> list[tuple[str, bool]]:
    """Names in a directory and whether they are directories, which end in a slash."""
    try:
        found = retrying(lambda: files.get_file_info(pa_fs.FileSelector(path)))
        kinds = [(one.base_name, one.type == pa_fs.FileType.Directory) for one in found]
    except UnicodeDecodeError as error:  # bytes that the file system's encoding does not know
        name = error.object.decode(errors="surrogateescape")
        raise SessError(f"the file name {name!a} is not UTF-8; rename it or leave it out") from None
    except OSError as error:
        raise SessError(f"folder {path} cannot be read: {one_line(error)}") from error
    links = isinstance(files, pa_fs.LocalFileSystem)
    return [
        (f"{name}/" if is_folder else name, is_folder)
        for name, is_folder in kinds
        if not (links and is_folder and Path(path, name).is_symlink())
    ]


def is_image(name: str) -> bool:
    """Whether a file is an image by its name."""
    base = name.rsplit("/", 1)[-1]
    return (
        not base.startswith(".")
        and "." in base
        and f".{base.rsplit('.')[-1].lower()}" in EXTENSIONS
    )

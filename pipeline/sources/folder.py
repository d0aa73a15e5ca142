"""A folder of images, at any depth; it carries no labels."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image

from pipeline.files import file_system
from pipeline.records import SourceRow
from sess_kernels.errors import SessError

_EXTENSIONS = frozenset(
    ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN
) - {".pdf", ".mpg", ".mpeg", ".h5", ".hdf", ".eps", ".ps"}


def read_folder(path: str) -> Iterator[SourceRow]:
    """Every file below ``path`` that by its name is an image, in the order of the names.

    The image id is the path below the folder, with its extension, so that no two are equal.

    Raises:
        SessError: If there is no such folder or no image in it.
    """
    files, root = file_system(path)
    if not files.isdir(root):
        kind = "is a file, not a folder" if files.exists(root) else "does not exist"
        raise SessError(f"folder {path} {kind}; give a folder of images or a table:FILE.csv")
    root = root.rstrip("/")
    found = sorted(name for name in files.find(root) if _is_image(name))
    if not found:
        raise SessError(f"folder {path} holds no image (.jpg, .png, ...); is it the right one?")
    for name in found:
        if not _is_text(name):
            raise SessError(f"the file name {name!a} is not UTF-8; rename it or leave it out")
        yield SourceRow(name[len(root) + 1 :], str(files.unstrip_protocol(name)))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that the file system's encoding does not know
        return False
    return True


def _is_image(name: str) -> bool:
    base = name.rsplit("/", 1)[-1]
    return (
        not base.startswith(".")
        and "." in base
        and f".{base.rsplit('.')[-1].lower()}" in _EXTENSIONS
    )

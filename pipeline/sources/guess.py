"""What kind of source a path is, from its name or from what lies directly in it."""

from __future__ import annotations

import posixpath
import re

from pipeline.files import Folder
from pipeline.sources.folder import is_image
from pipeline.sources.imagenet import SYNSET
from pipeline.sources.reading import Entries, entries
from sess_kernels.errors import SessError

_ENDINGS = {
    ".csv": "table",
    ".jsonl": "table",
    ".parquet": "table",
    ".json": "coco",
    ".tar": "wds",
}
_OPTIONS = re.compile(r"\?\w+=.*", re.DOTALL)
_YEAR = re.compile(r"VOC\d{4}")


def guess(path: str) -> str:
    """The kind of a source that is given as a path alone.

    A folder of folders is ``folder``, not ``imagefolder``: they may be dates or cameras as well as
    classes, and labels must not be invented. A path that does not exist is what it looks like;
    its reader tells the fault.

    Args:
        path: Path or URI, with options or without.

    Returns:
        A key of ``SOURCES``.

    Example:
        >>> guess("labels.csv"), guess("instances.json?images=train"), guess("no/such/folder")
        ('table', 'coco', 'folder')
    """
    path = _OPTIONS.sub("", path)
    ending = posixpath.splitext(path)[1].lower()
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    if "{" in path and ".tar" in path:  # shards-{0000..0099}.tar, {train,val}.tar.gz
        return "wds"
    try:
        folder = Folder.of(path)
        return _of_folder(folder, entries(folder))
    except (SessError, OSError):
        return "folder"


def _of_folder(folder: Folder, inside: Entries) -> str:
    folders, files = inside
    if {"JPEGImages", "Annotations"} <= {*folders} or "VOCdevkit" in folders:
        return "voc"
    if any(map(_YEAR.fullmatch, folders)):
        return "voc"
    if folders and all(map(SYNSET.fullmatch, folders)):
        return "imagenet"
    if any(map(is_image, files)):
        return "folder"
    if folders == ["data"] and not _holds(files, ".parquet"):
        inside = entries(folder / "data")
        return "hf" if _holds(inside.files, ".parquet") and not inside.folders else "folder"
    if not folders and _holds(files, ".parquet"):
        return "hf"
    return "wds" if not folders and _holds(files, ".tar") else "folder"


def _holds(files: list[str], ending: str) -> bool:
    return any(name.endswith(ending) for name in files)

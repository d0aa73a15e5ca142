"""What kind of truth a path is, from its name or from what lies directly in it."""

from __future__ import annotations

import posixpath
import re

from pipeline.files import Folder
from pipeline.sources.reading import entries
from pipeline.truth.imagenet import KAGGLE_FILE
from sess_kernels.errors import SessError

_ENDINGS = {".csv": "table", ".jsonl": "table", ".parquet": "table", ".json": "coco"}
_OPTIONS = re.compile(r"\?\w+=.*", re.DOTALL)
_VOC_FOLDER = re.compile(r"Annotations|SegmentationClass(Aug)?|VOCdevkit|VOC\d{4}")


def guess_truth(path: str) -> str:
    """The kind of a truth that is given as a path alone.

    Args:
        path: Path or URI, with options or without.

    Returns:
        A key of ``TRUTHS``; ``voc`` for a folder that does not exist, whose opener tells it.

    Example:
        >>> guess_truth("instances.json"), guess_truth("boxes.csv?unit=fraction")
        ('coco', 'table')
    """
    path = _OPTIONS.sub("", path)
    if posixpath.basename(path) == KAGGLE_FILE:
        return "imagenet"
    ending = posixpath.splitext(path)[1].lower()
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    try:
        folder = Folder.of(path)
        folders, files = entries(folder)
        if "Annotations" in folders and "CLS-LOC" in entries(folder / "Annotations").folders:
            return "imagenet"
    except (SessError, OSError):
        return "voc"
    if "ILSVRC" in folders or KAGGLE_FILE in files:
        return "imagenet"
    if any(map(_VOC_FOLDER.fullmatch, folders)):
        return "voc"
    return "masks" if any(name.lower().endswith(".png") for name in files) else "voc"

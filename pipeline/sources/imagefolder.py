"""A folder for each class, as ``torchvision.datasets.ImageFolder`` reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

from pipeline.files import Folder
from pipeline.sources.folder import is_image
from pipeline.sources.listed import Listed
from pipeline.sources.reading import entries, images_below, open_folder
from pipeline.sources.rows import Row, tables_of
from sess_kernels.errors import SessError


def read_imagefolder(path: str, listed: Listed) -> Iterator[pa.Table]:
    """Images at any depth below the folders of their classes; classes are sorted by name.

    The image id is the path below ``path``, the label the name of the first folder in it. A class
    folder without an image keeps its id.

    Raises:
        SessError: If there is no such folder, no folder in it or no image in those.
    """
    folder = open_folder("imagefolder", path)
    classes, files = entries(folder)
    if not classes:
        raise SessError(
            f"imagefolder:{path}: there is no folder for a class; give folder:{path} for images "
            "without classes"
        )
    listed.name_classes(classes)
    yield from tables_of(rows_by_folder(folder, {name: name for name in classes}, files, listed))


def rows_by_folder(
    folder: Folder, labels: Mapping[str, str], files: list[str], listed: Listed
) -> Iterator[Row]:
    """The images of the folders of classes.

    Args:
        folder: Where the folders are.
        labels: Label of each folder's images, by its name.
        files: Files beside the folders; images among them are told as faults.
        listed: Is told what is left out.

    Raises:
        SessError: If no folder holds an image.
    """
    for name in filter(is_image, files):
        listed.fault(f"{folder.uri}/{name}: the image is in no class's folder; it is left out")
    empty = True
    for name, images in images_below(folder, labels):
        empty_class = True
        for image in images:
            empty = empty_class = False
            yield Row(image, f"{folder.uri}/{image}", [labels[name]])
        if empty_class:
            listed.fault(f"{folder.uri}/{name}: the class's folder holds no image")
    if empty:
        raise SessError(f"{folder.uri}: no folder of a class holds an image (.jpg, .png, ...)")

"""COCO: images and their annotations in one JSON file; LVIS and others write the same."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import pyarrow as pa

from pipeline.files import Folder
from pipeline.sources.coco_file import (
    CocoIds,
    CocoImage,
    categories_of,
    fault_of,
    images_of,
    parsed,
    section_of,
)
from pipeline.sources.listed import Listed
from pipeline.sources.options import with_options
from pipeline.sources.reading import is_folder, open_folder
from pipeline.sources.rows import Row, tables_of
from sess_kernels.errors import SessError

_UNUSED = frozenset({"segmentation", "keypoints"})  # nine tenths of COCO's bytes
_LOOKED_FOR = 10  # images that tell whether a folder is the right one
_SLACK = 1.0  # pixels; corners of boxes are rounded


def read_coco(path: str, listed: Listed) -> Iterator[pa.Table]:
    """Images of an annotation file such as ``instances_train2017.json``.

    The image id is ``file_name``; the labels are the distinct category names of the image's
    annotations in the order of the category ids. A crowd (``iscrowd``) counts: the class is there.
    Labels are null where the file holds no annotations, as for the images of a test.

    Options:
        images: Folder of the images. Without it ``../train2017`` and ``../images/train2017`` are
            tried for ``instances_train2017.json``, then the file's own folder.

    Raises:
        SessError: If the file or the images' folder cannot be found, or it is no COCO JSON.
    """
    path, options = with_options("coco", path, ["images"])
    content = parsed(path, _lean)
    images, by_id = images_of(section_of(content, "images", path), path, listed)
    given = options.get("images")
    folder = _folder_of(path, images) if given is None else open_folder("coco", given)
    names = categories_of(section_of(content, "categories", path), path, listed)
    annotations = section_of(content, "annotations", path)
    _annotate(annotations, by_id, names, path, listed)
    is_labelled = bool(annotations)
    del content, annotations, by_id  # what is left is a tenth of it
    yield from tables_of(_rows(folder, images, names if is_labelled else None))


def _lean(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An entry without its polygons, which are dropped as soon as each is read."""
    return {key: value for key, value in pairs if key not in _UNUSED}


def _rows(
    folder: Folder, images: Iterable[CocoImage], names: Mapping[int, str] | None
) -> Iterator[Row]:
    for image in images:
        is_whole = image.name.startswith("/") or "://" in image.name
        uri = image.name if is_whole else f"{folder.uri}/{image.name}"
        if names is None:
            yield Row(image.name, uri)
            continue
        found = (names[one] for one in sorted(image.categories))
        yield Row(image.name, uri, list(dict.fromkeys(filter(None, found))))


def _annotate(
    annotations: list[Any], by_id: CocoIds, names: Mapping[int, str], path: str, listed: Listed
) -> None:
    """Give every image the categories of its annotations."""
    for number, one in enumerate(annotations):
        try:
            image, category = by_id[one["image_id"]], one["category_id"]
            names[category]
            image.categories.add(category)
            box = one.get("bbox")
        except (KeyError, TypeError, AttributeError):
            said = fault_of(one, by_id)
            listed.fault(f"{path}: annotations[{number}] {said}; it is left out")
            continue
        if box and not _is_inside(box, image):
            size = f"{image.width:g}x{image.height:g} pixels"
            said = f"has the box {box} outside its image {image.name} of {size}; its label stays"
            listed.fault(f"{path}: annotations[{number}] {said}")


def _is_inside(box: Any, image: CocoImage) -> bool:
    try:
        left, top, width, height = box
        inside = left >= -_SLACK and top >= -_SLACK and width >= 0 and height >= 0
        right, bottom = left + width, top + height
        return bool(inside and right <= image.width + _SLACK and bottom <= image.height + _SLACK)
    except (TypeError, ValueError):
        return False


def _folder_of(path: str, images: list[CocoImage]) -> Folder:
    """Where the images of an annotation file are by custom."""
    own, _, file = Folder.of(path).uri.rpartition("/")
    above = own.rpartition("/")[0]
    name = posixpath.splitext(file)[0].rpartition("_")[2].replace("-dev", "")  # test-dev2017
    folders = [Folder(f"{above}/{name}"), Folder(f"{above}/images/{name}"), Folder(f"{own}/{name}")]
    for folder in folders:
        if is_folder(folder):
            return folder
    folder = Folder(own)
    if any(folder.exists(image.name) for image in islice(images, _LOOKED_FOR)):
        return folder
    tried = ", ".join(one.uri for one in [*folders, folder])
    raise SessError(f"coco:{path}: its images are in none of {tried}; give ?images=FOLDER")

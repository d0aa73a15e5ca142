"""COCO: images and their annotations in one JSON file; LVIS and others write the same."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa

from pipeline.files import Folder
from pipeline.sources.listed import Listed
from pipeline.sources.options import with_options
from pipeline.sources.reading import is_folder, open_folder, read_text
from pipeline.sources.rows import Row, tables_of
from sess_kernels.errors import SessError, one_line

_UNUSED = frozenset({"segmentation", "keypoints"})  # nine tenths of COCO's bytes
_LOOKED_FOR = 10  # images that tell whether a folder is the right one
_SLACK = 1.0  # pixels; corners of boxes are rounded


@dataclass(slots=True)
class _Image:
    name: str
    width: float
    height: float
    categories: set[int] = field(default_factory=set)


_Ids = dict[object, _Image]


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
    content = _parsed(path)
    images, by_id = _images(_section(content, "images", path), path, listed)
    given = options.get("images")
    folder = _folder_of(path, images) if given is None else open_folder("coco", given)
    names = _categories(_section(content, "categories", path), path, listed)
    annotations = _section(content, "annotations", path)
    _annotate(annotations, by_id, names, path, listed)
    is_labelled = bool(annotations)
    del content, annotations, by_id  # what is left is a tenth of it
    yield from tables_of(_rows(folder, images, names if is_labelled else None))


def _rows(
    folder: Folder, images: Iterable[_Image], names: Mapping[int, str] | None
) -> Iterator[Row]:
    for image in images:
        is_whole = image.name.startswith("/") or "://" in image.name
        uri = image.name if is_whole else f"{folder.uri}/{image.name}"
        if names is None:
            yield Row(image.name, uri)
            continue
        found = (names[one] for one in sorted(image.categories))
        yield Row(image.name, uri, list(dict.fromkeys(filter(None, found))))


def _parsed(path: str) -> dict[str, Any]:
    """The file without its polygons, which are dropped as soon as each is read."""

    def lean(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: value for key, value in pairs if key not in _UNUSED}

    try:
        content = json.loads(read_text(path), object_pairs_hook=lean)
    except json.JSONDecodeError as error:  # it tells line and column
        raise SessError(f"{path} is no JSON: {one_line(error)}; is the file whole?") from None
    except RecursionError:
        raise SessError(f"{path} is no COCO dataset: its lists are nested too deep") from None
    if not isinstance(content, dict) or "images" not in content:
        raise SessError(f"{path} is no COCO dataset: it has no list 'images'")
    return content


def _section(content: Mapping[str, Any], name: str, path: str) -> list[Any]:
    found = content.get(name) or []
    if not isinstance(found, list):
        raise SessError(f"{path}: {name!r} must be a list but is {type(found).__name__}")
    return found


def _images(entries: list[Any], path: str, listed: Listed) -> tuple[list[_Image], _Ids]:
    """The images to list, each file once, and those that annotations may name by their ids."""
    by_name: dict[str, _Image] = {}
    by_id: _Ids = {}
    for number, entry in enumerate(entries):
        place = f"{path}: images[{number}]"
        image_id = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(image_id, int | str):
            listed.fault(f"{place} has no id; it is left out")
            continue
        width, height = (_pixels(entry.get(name)) for name in ("width", "height"))
        image = _Image(_file_name(entry), width, height)
        if image_id in by_id:
            if image.name == by_id[image_id].name:
                listed.duplicates += 1
            else:
                listed.fault(f"{place} has the id {image_id} of another; it is left out")
            continue
        if not image.name:
            listed.fault(f"{place} has no file_name; it is left out with its annotations")
        elif image.name in by_name:
            listed.duplicates += 1
            image = by_name[image.name]  # annotations of either id are those of the file
        else:
            by_name[image.name] = image
        by_id[image_id] = image
    return list(by_name.values()), by_id


def _file_name(entry: Mapping[str, Any]) -> str:
    """Name below the folder of images; LVIS gives an address that ends in ``train2017/ID.jpg``."""
    name = entry.get("file_name")
    if not name and isinstance(entry.get("coco_url"), str):
        name = "/".join(entry["coco_url"].split("/")[-2:])
    return name if isinstance(name, str) else ""


def _pixels(value: object) -> float:
    """A side of an image; infinite where it is not told."""
    return float(value) if isinstance(value, int | float) and value > 0 else float("inf")


def _categories(entries: list[Any], path: str, listed: Listed) -> dict[int, str]:
    """Names by id; empty for a category without a name. Tells the classes."""
    names: dict[int, str] = {}
    for number, entry in enumerate(entries):
        place = f"{path}: categories[{number}]"
        one, name = (
            (entry.get("id"), entry.get("name")) if isinstance(entry, dict) else (None, None)
        )
        if not isinstance(one, int):
            listed.fault(f"{place} has no id that is a whole number; it is left out")
        elif one in names:
            listed.fault(f"{place} has the id {one} of another; it is left out")
        elif not isinstance(name, str) or not name.strip():
            listed.fault(f"{place} has no name; it is left out with its annotations")
            names[one] = ""
        else:
            names[one] = name.strip()
            if listed.classes.setdefault(names[one], one) != one:
                other = listed.classes[names[one]]
                listed.fault(f"{place} has the name of category {other}; both are taken for one")
    return names


def _annotate(
    annotations: list[Any], by_id: _Ids, names: Mapping[int, str], path: str, listed: Listed
) -> None:
    """Give every image the categories of its annotations."""
    for number, one in enumerate(annotations):
        try:
            image, category = by_id[one["image_id"]], one["category_id"]
            names[category]
            image.categories.add(category)
            box = one.get("bbox")
        except (KeyError, TypeError, AttributeError):
            said = _fault(one, by_id)
            listed.fault(f"{path}: annotations[{number}] {said}; it is left out")
            continue
        if box and not _is_inside(box, image):
            size = f"{image.width:g}x{image.height:g} pixels"
            said = f"has the box {box} outside its image {image.name} of {size}; its label stays"
            listed.fault(f"{path}: annotations[{number}] {said}")


def _fault(one: Any, by_id: _Ids) -> str:
    if not isinstance(one, dict):
        return "is no annotation"
    for name in ("image_id", "category_id"):
        if not isinstance(one.get(name), int | str):
            return f"has no {name}"
    if one["image_id"] not in by_id:
        return f"is of the unknown image {one['image_id']}"
    return f"is of the unknown category {one['category_id']}"


def _is_inside(box: Any, image: _Image) -> bool:
    try:
        left, top, width, height = box
        inside = left >= -_SLACK and top >= -_SLACK and width >= 0 and height >= 0
        right, bottom = left + width, top + height
        return bool(inside and right <= image.width + _SLACK and bottom <= image.height + _SLACK)
    except (TypeError, ValueError):
        return False


def _folder_of(path: str, images: list[_Image]) -> Folder:
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

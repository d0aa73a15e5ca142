"""What a COCO file lists: images and categories; entries that make no sense are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.sources.listed import Listed
from pipeline.sources.reading import read_text
from sess_kernels.errors import SessError, one_line


@dataclass(slots=True)
class CocoImage:
    """An image of a COCO file.

    Attributes:
        name: Its ``file_name``.
        width: Width in pixels; infinite where it is not told.
        height: Height, likewise.
        categories: Ids of the categories that are in it.
    """

    name: str
    width: float
    height: float
    categories: set[int] = field(default_factory=set)


CocoIds = dict[object, CocoImage]
"""Images by their ids."""


def parsed(path: str, lean: Callable[[list[tuple[str, Any]]], dict[str, Any]]) -> dict[str, Any]:
    """A COCO file.

    Args:
        path: Path or URI.
        lean: Makes each entry as soon as it is read, of its keys and values.

    Raises:
        SessError: If it is no JSON, or no COCO dataset.
    """
    try:
        content = json.loads(read_text(path), object_pairs_hook=lean)
    except json.JSONDecodeError as error:  # it tells line and column
        raise SessError(f"{path} is no JSON: {one_line(error)}; is the file whole?") from None
    except RecursionError:
        raise SessError(f"{path} is no COCO dataset: its lists are nested too deep") from None
    if not isinstance(content, dict) or "images" not in content:
        raise SessError(f"{path} is no COCO dataset: it has no list 'images'")
    return content


def section_of(content: Mapping[str, Any], name: str, path: str) -> list[Any]:
    """A list of a COCO file; empty if it has none of that name.

    Raises:
        SessError: If it is no list.
    """
    found = content.get(name) or []
    if not isinstance(found, list):
        raise SessError(f"{path}: {name!r} must be a list but is {type(found).__name__}")
    return found


def images_of(entries: list[Any], path: str, listed: Listed) -> tuple[list[CocoImage], CocoIds]:
    """The images to list, each file once, and those that annotations may name by their ids."""
    by_name: dict[str, CocoImage] = {}
    by_id: CocoIds = {}
    for number, entry in enumerate(entries):
        place = f"{path}: images[{number}]"
        image_id = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(image_id, int | str):
            listed.fault(f"{place} has no id; it is left out")
            continue
        width, height = (_pixels(entry.get(name)) for name in ("width", "height"))
        image = CocoImage(_file_name(entry), width, height)
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


def categories_of(entries: list[Any], path: str, listed: Listed) -> dict[int, str]:
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


def fault_of(one: Any, by_id: CocoIds) -> str:
    """Why an annotation is left out."""
    if not isinstance(one, dict):
        return "is no annotation"
    for name in ("image_id", "category_id"):
        if not isinstance(one.get(name), int | str):
            return f"has no {name}"
    if one["image_id"] not in by_id:
        return f"is of the unknown image {one['image_id']}"
    return f"is of the unknown category {one['category_id']}"

"""COCO: boxes, polygons and run lengths of one JSON file, held in a few arrays."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

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
from pipeline.truth.base import UNKNOWN, ClassTruth, ImageTruth, Reader, Size, Truth, nothing
from pipeline.truth.boxes import Entry, agreed_size, class_truths
from pipeline.truth.classes import ClassNumbers
from pipeline.truth.coco_regions import Outline, region_of
from pipeline.truth.names import ImageNames

_DROPPED = frozenset({"keypoints", "caption"})
_OUTLINE = "segmentation"


def open_coco(path: str, number: ClassNumbers) -> Truth:
    """Objects of an annotation file such as ``instances_val2014.json``; LVIS writes the same.

    An image is found by its ``file_name``. Boxes are (x, y, x + width, y + height); a crowd
    (``iscrowd``) need not be found as a box, but its pixels are of the class. The mask of an image
    is made of the regions; where those of two classes overlap nobody knows. Regions and masks take
    ``pycocotools``, the extra ``coco``.

    Raises:
        SessError: If the file cannot be read, is no COCO JSON, or has no category of the run.
    """
    path, _ = with_options("coco", path, ["images"])  # so that a source can be given as it is
    name, listed = f"coco:{path}", Listed()
    content = parsed(path, _lean)
    images, by_id = images_of(section_of(content, "images", path), path, listed)
    names = categories_of(section_of(content, "categories", path), path, listed)
    number.check_any(name, filter(None, names.values()))
    annotations = section_of(content, "annotations", path)
    return CocoTruth(
        name, path, images, _objects(annotations, by_id, names, path, listed), number, listed
    )


class _Object:
    """An annotation that makes sense."""

    __slots__ = ("box", "crowd", "image", "label", "outline", "place")

    def __init__(self, place: int, image: CocoImage, label: str, one: Mapping[str, Any]) -> None:
        self.place, self.image, self.label = place, image, label
        self.box = _corners(one.get("bbox"))
        self.crowd = bool(one.get("iscrowd"))
        self.outline: bytes = one.get(_OUTLINE) or b""


class CocoTruth(Truth):
    """Objects by image; annotations are held as arrays, outlines as the text they were.

    Args:
        name: ``KIND:PATH`` as the user said it.
        file: The JSON file, for messages.
        images: Its images.
        objects: Its annotations.
        number: Class index of a name.
        listed: Has been told what makes no sense.
    """

    has_boxes = True

    def __init__(
        self,
        name: str,
        file: str,
        images: list[CocoImage],
        objects: Iterable[_Object],
        number: ClassNumbers,
        listed: Listed,
    ) -> None:
        super().__init__(name)
        self.listed = listed
        self._file, self._number = file, number
        self._names = ImageNames(image.name for image in images)
        sizes = [(image.height, image.width) for image in images]
        self._sizes = np.array(sizes, np.float64).reshape(-1, 2)
        places = {id(image): place for place, image in enumerate(images)}
        self._others: dict[int, Counter[str]] = {}
        found = []
        for one in objects:
            index, place = number(one.label), places.get(id(one.image))
            if place is None:  # an image without a name, which was told
                continue
            if index is None:
                self._others.setdefault(place, Counter())[one.label] += 1
            else:
                found.append((place, index, one))
        self._hold(sorted(found, key=lambda row: row[0]), len(images))  # stable
        self.has_regions = len(self._text) > 0
        self.has_masks = self.has_regions and number.fit_masks

    def _hold(self, found: list[tuple[int, int, _Object]], n_images: int) -> None:
        """Take objects as arrays, sorted by image: its place, class index and object."""
        of_image = np.array([row[0] for row in found], np.int64)
        self._starts = np.searchsorted(of_image, np.arange(n_images + 1))
        self._classes = np.array([row[1] for row in found], np.int32)
        self._places = np.array([row[2].place for row in found], np.int64)
        self._crowds = np.array([row[2].crowd for row in found], bool)
        self._boxes = np.array([row[2].box for row in found], np.float64).reshape(-1, 4)
        outlines = [row[2].outline for row in found]
        self._text = np.frombuffer(b"".join(outlines), np.uint8)
        self._ends = np.cumsum([0, *map(len, outlines)])

    def of(self, image_id: str, size: Size | None = None) -> ImageTruth | None:
        """See ``Truth.of``."""
        place = self._names.find(image_id)
        if place is None:
            return None
        faults: list[str] = []
        height, width = self._sizes[place].tolist()
        told = (int(height), int(width)) if np.isfinite([height, width]).all() else None
        said = f"{self._file}: {image_id}"
        size, agree = agreed_size(said, told, size, faults)
        truth = ImageTruth({}, size, faults, self._others.get(place, Counter()))
        if agree:
            rows = range(*self._starts[place : place + 2].tolist())
            truth.classes = self._truths(rows, size, faults)
            if self.has_masks and size is not None:
                truth.read_mask = partial(_painted, truth.classes, size)
        return truth

    def _truths(self, rows: range, size: Size | None, faults: list[str]) -> dict[int, ClassTruth]:
        by_class: dict[int, list[int]] = {}
        entries = []
        for row in rows:
            index, place = int(self._classes[row]), self._place(row)
            left, top, right, bottom = self._boxes[row].tolist()
            box = None if np.isnan(left) else (left, top, right, bottom)
            crowd = bool(self._crowds[row])
            entries.append(Entry(place, self._number.names[index], index, box, crowd))
            by_class.setdefault(index, []).append(row)

        def region(index: int) -> Reader:
            return self._region(by_class[index], size, faults)

        return class_truths(entries, size, faults, region)

    def _region(self, rows: list[int], size: Size | None, faults: list[str]) -> Reader:
        outlines = [Outline(self._place(row), self._outline(row)) for row in rows]
        outlines = [one for one in outlines if one.text]
        return partial(region_of, outlines, size, faults) if outlines and size else nothing

    def _outline(self, row: int) -> bytes:
        return self._text[self._ends[row] : self._ends[row + 1]].tobytes()

    def _place(self, row: int) -> str:
        return f"{self._file}: annotations[{self._places[row]}]"


def _lean(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An entry with its outlines as text again, a tenth of what lists of numbers take."""
    return {key: _text(key, value) for key, value in pairs if key not in _DROPPED}


def _text(key: str, value: Any) -> Any:
    return json.dumps(value, separators=(",", ":")).encode() if key == _OUTLINE else value


def _objects(
    annotations: list[Any], by_id: CocoIds, names: Mapping[int, str], path: str, listed: Listed
) -> Iterable[_Object]:
    for place, one in enumerate(annotations):
        try:
            image, label = by_id[one["image_id"]], names[one["category_id"]]
            found = _Object(place, image, label, one)
        except (KeyError, TypeError, AttributeError):
            listed.fault(f"{path}: annotations[{place}] {fault_of(one, by_id)}; it is left out")
            continue
        if one.get("bbox") and np.isnan(found.box[0]):
            said = f"has the box {one['bbox']} of not four numbers"
            listed.fault(f"{path}: annotations[{place}] {said}; the box is left out")
        if label:  # a category without a name was told
            yield found


def _corners(box: Any) -> tuple[float, float, float, float]:
    """Corners of (x, y, width, height); NaN where there is no box."""
    try:
        left, top, width, height = map(float, box)
    except (TypeError, ValueError):
        left = top = width = height = np.nan
    return left, top, left + width, top + height


def _painted(classes: Mapping[int, ClassTruth], size: Size) -> Tensor | None:
    """The mask of an image of the regions of its classes; None where one has no region."""
    mask = torch.zeros(size, dtype=torch.uint8)
    for index, truth in classes.items():
        if truth.region is None:
            return None
        shared = truth.region & (mask > 0)
        mask[truth.region] = index + 1
        mask[shared] = UNKNOWN
    return mask

"""Truth from an XML annotation for each image, in the format of PASCAL VOC."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple
from xml.parsers import expat

from pipeline.files import Folder
from pipeline.sources.voc_xml import AnnotatedObject, AnnotationReader
from pipeline.truth.base import ImageTruth, Reader, Size, Truth, nothing
from pipeline.truth.boxes import Box, Entry, agreed_size, class_truths
from pipeline.truth.classes import ClassNumbers
from pipeline.truth.names import stem
from pipeline.truth.pictures import Values, has_picture, read_mask
from sess_kernels.errors import one_line

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class Masks(NamedTuple):
    """A folder of masks and what their values stand for."""

    folder: Folder
    values: Values


class AnnotatedTruth(Truth):
    """Reads the annotation of an image when it is asked for; nothing is held.

    Args:
        name: ``KIND:PATH`` as the user said it.
        folder: Where the annotations are, if there are any.
        number: Class index of a name.
        origin: Number of the first pixel of an image; corners include the last one.
        masks: Masks by the stems of the images, if there are any.
    """

    def __init__(
        self,
        name: str,
        folder: Folder | None,
        number: ClassNumbers,
        origin: int,
        masks: Masks | None = None,
    ) -> None:
        super().__init__(name)
        self.has_boxes, self.has_masks = folder is not None, masks is not None
        self._folder, self._number, self._origin = folder, number, origin
        self._masks = masks

    def of(self, image_id: str, size: Size | None = None) -> ImageTruth | None:
        """See ``Truth.of``."""
        faults: list[str] = []
        found = self._annotation(image_id, faults)
        if found is None and not self._has_mask(image_id):
            return None
        truth = ImageTruth({}, size, faults)
        if found is not None:
            self._fill(truth, found, self._uri(image_id))
        truth.read_mask = self._mask_reader(image_id, truth.size, faults)
        return truth

    def file(self, image_id: str) -> str:
        """Path of the annotation of an image in the folder."""
        return f"{stem(image_id)}.xml"

    def _uri(self, image_id: str) -> str:
        return f"{self._folder.uri}/{self.file(image_id)}" if self._folder else ""

    def _annotation(self, image_id: str, faults: list[str]) -> AnnotationReader | None:
        """The annotation, empty where it cannot be read; None if there is none."""
        if self._folder is None:
            return None
        reader = AnnotationReader()
        try:
            reader.read(self._folder.read(self.file(image_id)))
        except FileNotFoundError:
            return None
        except OSError as error:
            said = f"cannot be read: {one_line(error)}"
            faults.append(f"{self._uri(image_id)} {said}; the image has no truth")
            return AnnotationReader()
        except (expat.ExpatError, ValueError, LookupError) as error:  # of encodings the last two
            said = f"not an annotation in XML, {one_line(error)}"
            faults.append(f"{self._uri(image_id)}: {said}; the image has no truth")
            return AnnotationReader()
        return reader

    def _fill(self, truth: ImageTruth, found: AnnotationReader, uri: str) -> None:
        truth.size, agree = agreed_size(uri, _size(found.size), truth.size, truth.faults)
        if agree:
            entries = list(self._entries(found.objects, uri, truth))
            truth.classes = class_truths(entries, truth.size, truth.faults)

    def _entries(
        self, objects: Iterable[AnnotatedObject], uri: str, truth: ImageTruth
    ) -> Iterable[Entry]:
        for one in objects:
            label, place = one.texts.get("name", ""), f"{uri}: line {one.line}"
            if not label:
                truth.faults.append(f"{place}: an object has no name; it is left out")
                continue
            number = self._number(label)
            if number is None:
                truth.others[label] += 1
                continue
            difficult = one.texts.get("difficult", "0") == "1"
            yield Entry(place, label, number, self._box(one), difficult)

    def _box(self, one: AnnotatedObject) -> Box | None:
        texts = [one.texts.get(f"bndbox/{name}") for name in _CORNERS]
        if "bndbox" not in one.texts and not any(texts):
            return None
        left, top, right, bottom = map(_number, texts)
        first, last = self._origin, 1 - self._origin
        return left - first, top - first, right + last, bottom + last

    def _has_mask(self, image_id: str) -> bool:
        return self._masks is not None and has_picture(self._masks.folder, image_id)

    def _mask_reader(self, image_id: str, size: Size | None, faults: list[str]) -> Reader:
        if self._masks is None:
            return nothing
        return partial(read_mask, self._masks.folder, image_id, self._masks.values, size, faults)


def _size(texts: dict[str, str]) -> Size | None:
    """Height and width, if an annotation tells both; some have zeros."""
    height, width = (_number(texts.get(name)) for name in ("height", "width"))
    return (int(height), int(width)) if min(height, width) >= 1 else None


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan

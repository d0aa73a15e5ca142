"""One annotation of PASCAL VOC: the classes of its objects, and what is wrong with it.

Read with expat, which knows the line of everything. Entities are refused where they are declared,
so that a few bytes that stand for gigabytes are never expanded, whatever version of expat is there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.parsers import expat

from sess_kernels.errors import one_line

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_DEEPEST = 4  # annotation/object/bndbox/xmin


class Annotation(NamedTuple):
    """Labels of an image, distinct and in order, and what is wrong: line and words."""

    labels: list[str]
    faults: list[str]


@dataclass
class AnnotatedObject:
    """An object of an annotation.

    Attributes:
        line: Where it begins.
        texts: Texts of its elements by their paths below it.
    """

    line: int
    texts: dict[str, str] = field(default_factory=dict)


class AnnotationReader:
    """Takes the texts of ``annotation/size/*`` and ``annotation/object/*``, and lines of objects.

    Parts of a person have names and boxes too; their paths are longer.
    """

    def __init__(self) -> None:
        self.objects: list[AnnotatedObject] = []
        self.size: dict[str, str] = {}
        self._path: list[str] = []
        self._text: list[str] = []
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text.append
        self._parser.EntityDeclHandler = self._refuse

    def read(self, content: bytes) -> None:
        """Take a whole file.

        Raises:
            xml.parsers.expat.ExpatError: If it is no XML; what came before is taken.
        """
        self._parser.Parse(content, True)

    def _start(self, tag: str, _: dict[str, str]) -> None:
        self._path.append(tag)
        self._text.clear()
        if tag == "object" and len(self._path) == 2:
            self.objects.append(AnnotatedObject(self._parser.CurrentLineNumber))

    def _end(self, _: str) -> None:
        if 2 < len(self._path) <= _DEEPEST:
            part, *place = self._path[1:]
            text = "".join(self._text).strip()
            if part == "object" and self.objects:
                self.objects[-1].texts.setdefault("/".join(place), text)
            elif part == "size":
                self.size["/".join(place)] = text
        self._text.clear()
        self._path.pop()

    def _refuse(self, *_: object) -> None:
        raise ValueError(f"it declares an entity: line {self._parser.CurrentLineNumber}")


def read_annotation(content: bytes, *, difficult: bool = True) -> Annotation:
    r"""The classes that an annotation says are in its image.

    Args:
        content: The XML file.
        difficult: Take objects that are marked difficult for labels too.

    Example:
        >>> xml = b"<annotation>\n<object><name>cat</name></object><object/>\n</annotation>"
        >>> read_annotation(xml)
        Annotation(labels=['cat'], faults=['line 2: an object has no name; it is left out'])
    """
    reader = AnnotationReader()
    try:
        reader.read(content)
    except (expat.ExpatError, ValueError, LookupError) as error:  # encodings raise the last two
        said = f"not an annotation in XML, {one_line(error)}"
        return Annotation([], [f"{said}; the image has no label"])
    labels, faults = [], []
    for one in reader.objects:
        name = one.texts.get("name")
        if not name:
            faults.append(f"line {one.line}: an object has no name; it is left out")
            continue
        wrong = _box_fault(one.texts, reader.size)
        if wrong:
            faults.append(f"line {one.line}: {wrong} of {name!r}; its label stays")
        # the classification task counts them neither for nor against a class
        if difficult or one.texts.get("difficult", "0") != "1":
            labels.append(name)
    return Annotation(list(dict.fromkeys(labels)), faults)


def _box_fault(texts: Mapping[str, str], size: Mapping[str, str]) -> str:
    corners = [texts[f"bndbox/{name}"] for name in _CORNERS if f"bndbox/{name}" in texts]
    if "bndbox" not in texts and not corners:
        return ""  # a label without a box is a label
    numbers = [_number(text) for text in corners]
    if len(numbers) != len(_CORNERS) or any(map(math.isnan, numbers)):
        return f"({', '.join(corners)}) is no box"
    left, top, right, bottom = numbers
    width, height = (_number(size.get(name, "")) for name in ("width", "height"))
    # counted from 1 by VOC, from 0 by many that write its format
    is_inside = 0 <= left <= right and 0 <= top <= bottom
    if is_inside and not (right > width > 0 or bottom > height > 0):
        return ""
    return f"box ({', '.join(corners)}) lies outside the image of {width:g}x{height:g} pixels"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan

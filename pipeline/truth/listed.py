"""Truth from one table of boxes, held in memory in a few arrays."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from pipeline.sources.listed import Listed
from pipeline.truth.base import AnyClass, ImageTruth, Size, Truth
from pipeline.truth.boxes import Box, Entry, class_truths
from pipeline.truth.classes import ClassNumbers
from pipeline.truth.names import ImageNames
from sess_kernels.errors import SessError

_ANY = -1


class ListedBox(NamedTuple):
    """A box of a table.

    Attributes:
        line: Its line or row.
        image: Name of the image.
        label: Class; None where the table does not tell classes.
        box: Left, top, right, bottom; half-open.
        difficult: Whether it need not be found.
    """

    line: int
    image: str
    label: str | None
    box: Box
    difficult: bool = False


class ListedTruth(Truth):
    """Boxes of a table by the names of images, see ``ImageNames``.

    Args:
        name: ``KIND:PATH`` as the user said it.
        file: The table, for messages.
        boxes: Its boxes.
        number: Class index of a label.
        listed: Has been told, or will be when ``boxes`` are read, what makes no sense.
        unit: ``pixel``, or ``fraction`` of the width and height of the image.
        line: What a line of the table is called in messages.

    Raises:
        SessError: If no class is one of the run's.
    """

    has_boxes = True

    def __init__(
        self,
        name: str,
        file: str,
        boxes: Iterable[ListedBox],
        number: ClassNumbers,
        listed: Listed,
        *,
        unit: str = "pixel",
        line: str = "line",
    ) -> None:
        super().__init__(name)
        self.listed = listed
        self._file, self._unit, self._line, self._number = file, unit, line, number
        self._labels: dict[str, None] = {}
        self._others: dict[int, Counter[str]] = {}
        places: dict[str, int] = {}
        rows: list[tuple[int, int, int, bool, Box]] = []
        for one in boxes:
            index = self._index(one)
            place = places.setdefault(posixpath.normpath(one.image), len(places))
            if index is None:
                self._others.setdefault(place, Counter())[one.label or ""] += 1
            else:
                rows.append((place, index, one.line, one.difficult, one.box))
        number.check_any(name, self._labels)
        rows.sort(key=lambda row: row[0])  # stable
        self._names = ImageNames(places)
        self._classes, self._lines = (
            np.array([row[column] for row in rows], np.int32) for column in (1, 2)
        )
        self._difficult = np.array([row[3] for row in rows], bool)
        self._boxes = np.array([row[4] for row in rows], np.float64).reshape(-1, 4)
        of_image = np.array([row[0] for row in rows], np.int64)
        self._starts = np.searchsorted(of_image, np.arange(len(places) + 1))

    def of(self, image_id: str, size: Size | None = None) -> ImageTruth | None:
        """See ``Truth.of``.

        Raises:
            SessError: If boxes are fractions and the size is not given.
        """
        place = self._names.find(image_id)
        if place is None:
            return None
        if size is None and self._unit == "fraction":
            raise SessError(f"{self.name} has fractions; boxes of {image_id} need its size")
        truth = ImageTruth({}, size, others=self._others.get(place, Counter()))
        mine = slice(*self._starts[place : place + 2].tolist())
        found = class_truths(self._entries(mine, size), size, truth.faults)
        truth.classes, truth.labelled = found, _ANY not in found
        if not truth.labelled:
            truth.classes = AnyClass(found[_ANY], len(self._number))
        return truth

    def _entries(self, mine: slice, size: Size | None) -> list[Entry]:
        boxes = self._boxes[mine]
        if self._unit == "fraction" and size is not None:
            boxes = boxes * [size[1], size[0], size[1], size[0]]
        columns = (self._lines, self._classes, self._difficult)
        rows = zip(boxes.tolist(), *(column[mine].tolist() for column in columns), strict=True)
        return [
            Entry(
                f"{self._file}: {self._line} {line}",
                "" if index == _ANY else self._number.names[index],
                index,
                (box[0], box[1], box[2], box[3]),
                difficult,
            )
            for box, line, index, difficult in rows
        ]

    def _index(self, one: ListedBox) -> int | None:
        """Class index of a box; None if the run does not have its class."""
        if one.label is None:
            return _ANY
        self._labels[one.label] = None
        index = self._number(one.label)
        if index is None and (doubt := self._number.doubt(one.label)):
            self.listed.fault(f"{self._file}: {self._line} {one.line}: {doubt}")
        return index

"""Boxes of annotations: what makes no sense is told, the rest is taken class by class."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch

from pipeline.truth.base import ClassTruth, Reader, Size, nothing

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels, half-open."""

_SLACK = 1.0  # pixels; corners are rounded, and some count from 0 where others count from 1


class Entry(NamedTuple):
    """An object of an annotation.

    Attributes:
        place: File and line or row, for messages.
        label: Its class for messages; empty where annotations do not tell it.
        number: Class index.
        box: Its box, if it has one.
        difficult: Whether it need not be found.
    """

    place: str
    label: str
    number: int
    box: Box | None
    difficult: bool = False


def class_truths(
    entries: Iterable[Entry],
    size: Size | None,
    faults: list[str],
    region: Callable[[int], Reader] = lambda _: nothing,
) -> dict[int, ClassTruth]:
    """The objects of an image class by class.

    Args:
        entries: Its objects.
        size: Height and width, if known.
        faults: Takes what is wrong with boxes.
        region: Reader of the region of a class.

    Example:
        >>> faults = []
        >>> cat = Entry("a.xml: line 3", "cat", 7, (10.0, 10.0, 40.0, 15.0))
        >>> class_truths([cat], (20, 30), faults)[7].boxes
        tensor([[10., 10., 30., 15.]])
        >>> faults
        ["a.xml: line 3: the box of 'cat' reaches beyond the image of 30x20 pixels; it is cut"]
    """
    found: dict[int, list[tuple[Box, bool]]] = {}
    for one in entries:
        kept = found.setdefault(one.number, [])
        if one.box is None:  # a label without a box is a label
            continue
        box, wrong = checked(one.box, size)
        if wrong:
            what = f"the box of {one.label!r}" if one.label else "the box"
            faults.append(f"{one.place}: {what} {wrong}")
        if box is not None:
            kept.append((box, one.difficult))
    return {number: _of_class(kept, region(number)) for number, kept in found.items()}


def checked(box: Box, size: Size | None) -> tuple[Box | None, str]:
    """A box as it can be used, or None, and what is wrong with it.

    Args:
        box: Left, top, right, bottom.
        size: Height and width of the image, if known.

    Example:
        >>> checked((4.0, 4.0, 2.0, 8.0), (20, 30))
        (None, 'has no area; it is left out')
        >>> checked((-0.5, 0.0, 30.0, 20.0), (20, 30))
        ((-0.5, 0.0, 30.0, 20.0), '')
    """
    left, top, right, bottom = box
    if not all(map(math.isfinite, box)):
        return None, "is no box of four numbers; it is left out"
    if not (left < right and top < bottom):
        return None, "has no area; it is left out"
    height, width = (math.inf, math.inf) if size is None else size
    if min(left, top) >= -_SLACK and right <= width + _SLACK and bottom <= height + _SLACK:
        return box, ""
    image = "the image" if size is None else f"the image of {width}x{height} pixels"
    inside = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    if not (inside[0] < inside[2] and inside[1] < inside[3]):
        return None, f"lies outside {image}; it is left out"
    return inside, f"reaches beyond {image}; it is cut"


def agreed_size(
    place: str, said: Size | None, size: Size | None, faults: list[str]
) -> tuple[Size | None, bool]:
    """Size of an image by its annotation and by itself, and whether these agree.

    Args:
        place: File and line or row of the annotation.
        said: What the annotation says, if anything.
        size: What the image has, if known.
        faults: Takes what is wrong.

    Example:
        >>> faults = []
        >>> agreed_size("a.xml", (20, 30), (30, 20), faults)
        ((30, 20), False)
        >>> faults
        ['a.xml: it is for 30x20 pixels but the image has 20x30; its boxes are left out']
    """
    if said is None or size is None or said == size:
        return size or said, True
    theirs, ours = (f"{width}x{height}" for height, width in (said, size))
    is_of = f"it is for {theirs} pixels but the image has {ours}"
    faults.append(f"{place}: {is_of}; its boxes are left out")
    return size, False


def _of_class(kept: list[tuple[Box, bool]], region: Reader) -> ClassTruth:
    boxes = torch.tensor([box for box, _ in kept], dtype=torch.float32).reshape(-1, 4)
    return ClassTruth(boxes, torch.tensor([hard for _, hard in kept], dtype=torch.bool), region)

"""Polygons and run lengths of COCO as pixels, by ``pycocotools``."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor

from pipeline.truth.base import Size
from sess_kernels.errors import SessError, one_line

_CORNERS = 3  # of a polygon, at least


class Outline(NamedTuple):
    """Where it stands, for messages, and the JSON text of a ``segmentation``."""

    place: str
    text: bytes


def region_of(outlines: list[Outline], size: Size, faults: list[str]) -> Tensor | None:
    """The union of objects.

    Args:
        outlines: The objects.
        size: Height and width of the image.
        faults: Takes what is wrong with outlines, which are left out.

    Returns:
        bool (H, W); None if no outline makes sense.

    Raises:
        SessError: If ``pycocotools`` is not installed.

    Example:
        >>> text = b"[[1,0,3,0,3,2,1,2]]"
        >>> region_of([Outline("a.json: annotations[0]", text)], (2, 4), []).int()
        tensor([[0, 1, 1, 0],
                [0, 1, 1, 0]], dtype=torch.int32)
    """
    try:
        import pycocotools.mask as rle
    except ImportError as error:
        raise SessError(
            'polygons need pycocotools; pip install "sess-pipeline[coco]", or judge by boxes alone'
        ) from error
    found = None
    for one in outlines:
        try:
            pixels = rle.decode(_run_lengths(json.loads(one.text), size, rle)).any(2)
        except Exception as error:  # whatever the library says of what is no outline
            faults.append(f"{one.place}: {one_line(error)}; its outline is left out")
            continue
        found = pixels if found is None else found | pixels
    return None if found is None else torch.from_numpy(found)


def _run_lengths(outline: Any, size: Size, rle: Any) -> list[dict[str, Any]]:
    """Run lengths of polygons or of run lengths, once they are sure not to crash the library.

    Raises:
        ValueError: If it is no outline for an image of this size.
    """
    if isinstance(outline, dict):
        if list(outline.get("size", [])) != list(size):
            raise ValueError(f"its run lengths are of the size {outline.get('size')}, not {size}")
        counts = outline.get("counts")
        if isinstance(counts, str):
            counts = decompressed(counts)
        # what is cut short the library fills with whatever is in the memory
        if not _are_numbers(counts) or min(counts, default=0) < 0 or sum(counts) != math.prod(size):
            raise ValueError("its run lengths do not add up to its image")
        return [rle.frPyObjects({"size": list(size), "counts": counts}, *size)]
    if not isinstance(outline, list) or not outline:
        raise ValueError("its segmentation is neither polygons nor run lengths")
    if not all(_is_polygon(one, max(size)) for one in outline):
        raise ValueError("its segmentation has a polygon that is none, or far outside its image")
    polygons: list[dict[str, Any]] = rle.frPyObjects(outline, *size)
    return polygons


def decompressed(text: str) -> list[int]:
    """Run lengths of their compressed text: 5 bits a character, and from the fourth on differences.

    Raises:
        ValueError: If it is none.

    Example:
        >>> decompressed("520N")
        [5, 2, 0, 0]
    """
    runs: list[int] = []
    value = shift = 0
    for code in text.encode():
        bits = code - ord("0")
        if not 0 <= bits < 64:
            raise ValueError("its run lengths have a character that is none of theirs")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # the last one of a number
            value -= (bits & 16) << (shift - 4)
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("its run lengths are cut short")
    return runs


def _is_polygon(outline: Any, side: int) -> bool:
    """Whether it has pairs of numbers near the image; what is far outside takes the memory."""
    if not _are_numbers(outline) or len(outline) % 2 or len(outline) < 2 * _CORNERS:
        return False
    return all(-side <= one <= 2 * side for one in outline)  # false for NaN


def _are_numbers(values: Any) -> TypeGuard[list[float]]:
    return isinstance(values, list) and all(isinstance(one, int | float) for one in values)

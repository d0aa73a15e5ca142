"""An image with the boxes, the mask and the photograph that an export asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.read import ImageMaps

IGNORE = 255
MAX_CLASSES = 254
"""Classes of a mask: a byte holds these, the background and what is to be ignored."""


class Box(NamedTuple):
    """A box in pixels, its right and lower edges outside, with the number of its class."""

    left: float
    top: float
    right: float
    bottom: float
    score: float
    number: int

    @property
    def width(self) -> float:
        """Its width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Its height in pixels."""
        return self.bottom - self.top

    @property
    def xyxy(self) -> list[float]:
        """Left, top, right, bottom."""
        return [self.left, self.top, self.right, self.bottom]


@dataclass(frozen=True)
class LabelledImage:
    """An image as sinks get it.

    Attributes:
        image: The image and its maps.
        name: Its file name without extension, see ``ImageNames.stem``.
        coco_id: Its id in COCO files.
        place: Its place in the export, from 0; there are gaps where images were skipped.
        boxes: Boxes of all classes, best first.
        mask: uint8 (H, W): 0 background, number of the class + 1, 255 ignored; if asked for.
        photograph: Bytes of its file; if it is to be copied.
    """

    image: ImageMaps
    name: str
    coco_id: int
    place: int
    boxes: tuple[Box, ...] = ()
    mask: NDArray[np.uint8] | None = None
    photograph: bytes | None = None


@dataclass(frozen=True)
class Skipped:
    """An image that is left out, and why."""

    image_id: str
    reason: str

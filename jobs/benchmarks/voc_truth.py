"""What PASCAL VOC says is in an image: its mask, and the boxes of a class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.sources.voc import VOC_CLASSES
from sess_kernels.errors import SessError, one_line, unknown

_MASKS = ("SegmentationClassAug", "SegmentationClass")


class TrueBoxes(NamedTuple):
    """The boxes of a class in an image.

    Attributes:
        boxes: float32 (M, 4), ``xyxy`` in pixels, half-open.
        difficult: bool (M,).
    """

    boxes: Tensor
    difficult: Tensor


class VocTruth:
    """Masks and boxes of a VOC folder by the names of images.

    Args:
        said: ``voc:DIR``, a folder with ``Annotations``, ``SegmentationClassAug`` or
            ``SegmentationClass``.

    Raises:
        SessError: If it is no such folder.
    """

    def __init__(self, said: str) -> None:
        kind, _, path = said.partition(":")
        folder = Path(path)
        if kind != "voc" or not (folder / "Annotations").is_dir():
            raise SessError(f"{said} is no truth of pseudo-labels; give voc:DIR with Annotations")
        self._folder = folder
        self._masks = next((folder / one for one in _MASKS if (folder / one).is_dir()), None)

    def mask(self, image_id: str) -> Tensor | None:
        """Mask uint8 (H, W): 0 background, class + 1, 255 nobody knows; None if there is none."""
        path = self._masks / f"{_stem(image_id)}.png" if self._masks else None
        if path is None or not path.exists():
            return None
        with Image.open(path) as file:
            return torch.from_numpy(np.array(file, np.uint8))

    def boxes(self, image_id: str) -> Mapping[int, TrueBoxes]:
        """Boxes of each class, by its number from 0; empty if there is no annotation.

        Raises:
            SessError: If the annotation cannot be read.
        """
        path = self._folder / "Annotations" / f"{_stem(image_id)}.xml"
        found: dict[int, list[tuple[list[float], bool]]] = {}
        try:
            root = ElementTree.parse(path).getroot()
            for one in root.iterfind("object"):
                left, top, right, bottom = (
                    float(one.findtext(f"bndbox/{name}", ""))
                    for name in ("xmin", "ymin", "xmax", "ymax")
                )
                # counted from 1, the last pixel included
                corners = [left - 1, top - 1, right, bottom]
                is_difficult = one.findtext("difficult", "0").strip() == "1"
                number = class_number(one.findtext("name", "").strip())
                found.setdefault(number, []).append((corners, is_difficult))
        except FileNotFoundError:
            return {}
        except (ElementTree.ParseError, ValueError) as error:
            raise SessError(f"{path} is no annotation of VOC: {one_line(error)}") from error
        return {
            number: TrueBoxes(*(torch.tensor(part) for part in zip(*boxes, strict=True)))
            for number, boxes in found.items()
        }


def class_number(name: str) -> int:
    """Number of a class of VOC, from 0.

    Raises:
        SessError: If VOC has no such class.

    Example:
        >>> class_number("tvmonitor")
        19
    """
    if name not in VOC_CLASSES:
        raise SessError(unknown("class of VOC", name, VOC_CLASSES))
    return VOC_CLASSES.index(name)


def _stem(image_id: str) -> str:
    return image_id.rsplit("/", 1)[-1].rsplit(".", 1)[0]

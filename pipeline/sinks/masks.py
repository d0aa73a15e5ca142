"""Pseudo-masks as PNG files with the palette of PASCAL VOC, as segmentation trainers read them.

A pixel is 0 for background, the number of its class + 1, or 255 where it is to be ignored; the
folders are those of VOC.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.exports import run_lengths
from pipeline.exports.job import ExportJob, Format
from pipeline.exports.json_list import JsonList
from pipeline.exports.labelled import IGNORE, LabelledImage
from pipeline.sinks.voc import EXTENSION, PHOTOGRAPHS
from sess_kernels.errors import SessError

MASKS_FOLDER, IMAGE_SET = "SegmentationClass", "ImageSets/Segmentation/train.txt"
CLASSES_FILE, RLE_FILE = "classes.json", "rle.json"
_BITS = 8


def write_masks(images: Iterator[LabelledImage], job: ExportJob) -> None:
    """Write ``SegmentationClass/ID.png``, the list of the images and ``classes.json``.

    Also ``JPEGImages/`` and ``rle.json``, if asked for.

    Args:
        images: Images with masks.
        job: The export.
    """
    job.dest.write(CLASSES_FILE, _classes(job))
    rle = job.dest.writing(RLE_FILE) if job.config.rle else nullcontext()
    with job.dest.writing(IMAGE_SET) as listed, rle as file:
        lengths = _RunLengths(file, job) if file else None
        for one in images:
            png = palette_png(_mask(one))
            job.dest.write(f"{MASKS_FOLDER}/{one.name}.png", png, sync=False)
            job.place_photograph(one, f"{PHOTOGRAPHS}/{one.name}{EXTENSION}")
            listed.write(f"{one.name}\n".encode())
            if lengths:
                lengths.add(one)
        if lengths:
            lengths.end()


def palette_png(mask: NDArray[np.uint8]) -> bytes:
    """A mask (H, W) as PNG whose bytes are its values and whose colours are those of VOC.

    Example:
        >>> image = Image.open(io.BytesIO(palette_png(np.array([[0, 1, 255]], np.uint8))))
        >>> image.mode, np.asarray(image).tolist(), image.convert("RGB").getpixel((1, 0))
        ('P', [[0, 1, 255]], (128, 0, 0))
    """
    image = Image.fromarray(mask).convert("P")
    image.putpalette(palette().tobytes())
    file = io.BytesIO()
    image.save(file, "png", optimize=False)
    return file.getvalue()


def palette() -> NDArray[np.uint8]:
    """The colours of VOC, uint8 (256, 3): the bits of a number, three by three, from the top.

    Bits 0, 3 and 6 of a number are the first three of red, bits 1, 4, 7 of green, 2, 5 of blue.

    Example:
        >>> palette()[[0, 1, 2, 15, 255]].tolist()
        [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [224, 224, 192]]
    """
    numbers = np.arange(256)[:, None]
    colours = np.zeros((256, 3), np.int64)
    for place in range(_BITS):
        bits = numbers >> (3 * place + np.arange(3)) & 1
        colours |= bits << (_BITS - 1 - place)
    return colours.astype(np.uint8)


def check(job: ExportJob) -> None:
    """Run lengths need ``pycocotools``.

    Raises:
        SessError: If they are asked for and it is not installed.
    """
    if job.config.rle:
        run_lengths.check_installed()


class _RunLengths:
    """Run lengths of every class in every image, as a COCO results list."""

    def __init__(self, file: BinaryIO, job: ExportJob) -> None:
        self._list = JsonList(file)
        self._numbers = job.classes.numbers
        self._ids = job.coco_ids.of_classes(job.classes.names)

    def add(self, one: LabelledImage) -> None:
        mask = _mask(one)
        for record in one.image.records:
            number = self._numbers[record.class_index]
            if (inside := mask == number + 1).any():
                found = {"image_id": one.coco_id, "category_id": self._ids[number]}
                lengths = {"segmentation": run_lengths.encode(inside), "score": record.score}
                self._list.add(found | lengths)

    def end(self) -> None:
        self._list.end()


def _mask(one: LabelledImage) -> NDArray[np.uint8]:
    if one.mask is None:
        raise SessError(f"image {one.image.image_id} came without its mask")
    return one.mask


def _classes(job: ExportJob) -> bytes:
    index = {number: index for index, number in job.classes.numbers.items()}
    listed: list[dict[str, Any]] = [
        {"value": number + 1, "name": name, "class_index": index.get(number)}
        for number, name in enumerate(job.classes.names)
    ]
    found = {"background": 0, "ignore": IGNORE, "classes": listed}
    return json.dumps(found, indent=1).encode() + b"\n"


MASKS = Format(
    write_masks,
    'PIL.Image.open("{to}/SegmentationClass/ID.png"), or torchvision.datasets.VOCSegmentation('
    '"ROOT") with {to} (and its photographs: --images link) as ROOT/VOCdevkit/VOC2012',
    boxes=False,
    mask="always",
    coco_ids=lambda config: config.rle,
    by_stem=True,
    check=check,
)
"""Palette PNG files."""

"""From an image with maps to what a format wants of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.exports.job import ExportJob
from pipeline.exports.labelled import Box, LabelledImage, Skipped
from pipeline.exports.photographs import local_path, read_photograph, upright
from pipeline.images import rgb_of
from pipeline.read import ImageMaps
from sess_kernels.errors import one_line
from sess_kernels.pseudo import pseudo_boxes, pseudo_mask


class Labeller:
    """Makes boxes, mask and photograph of an image; may be called from several threads.

    Args:
        job: The export.
    """

    def __init__(self, job: ExportJob) -> None:
        self._job = job
        self._config = job.config
        self._numbers = job.classes.numbers

    def __call__(
        self, image: ImageMaps, place: int, content: bytes | Exception | None = None
    ) -> LabelledImage | Skipped:
        """What is written of an image, or why it is left out.

        Args:
            image: Image with maps.
            place: Its place in the export.
            content: Its encoded photograph, or what hindered its reading; read here if not given.

        Raises:
            SessError: If its photograph cannot be linked, nor those of others.
        """
        job, wanted = self._job, self._job.wanted
        coco_id = job.coco_ids.image(image.image_id, image.uri) if job.coco_ids.file else place + 1
        if coco_id is None:
            return Skipped(image.image_id, f"{job.coco_ids.file} does not list it")
        if wanted.images == "link" and not local_path(image.uri).is_file():
            return Skipped(image.image_id, f"{image.uri} does not exist")
        made: dict[str, Any] = {}
        try:
            pixels, made["photograph"] = self._photograph(image, content)
        except Exception as error:  # a decoder may raise anything; the others go on
            return Skipped(image.image_id, one_line(error))
        if wanted.mask:
            made["mask"] = self._mask(image, pixels)
        if wanted.boxes:
            made["boxes"] = self._boxes(image)
        name = job.names.stem(image.image_id)
        return LabelledImage(image=image, name=name, coco_id=coco_id, place=place, **made)

    def _photograph(
        self, image: ImageMaps, content: bytes | Exception | None
    ) -> tuple[torch.Tensor | None, bytes | None]:
        """Pixels for a refinement, and the file to copy, as far as they are wanted."""
        job = self._job
        if not job.reads_photographs:
            return None, None
        read = read_photograph(image.uri, content)
        return (
            _pixels(image, read) if job.refines else None,
            upright(read, image.uri) if job.wanted.images == "copy" else None,
        )

    def _boxes(self, image: ImageMaps) -> tuple[Box, ...]:
        found = []
        for record in image.records:
            boxes = pseudo_boxes(torch.from_numpy(record.map), self._config.boxes)
            number = self._numbers[record.class_index]
            edges: list[float]
            for edges, of_map in zip(boxes.boxes.tolist(), boxes.scores.tolist(), strict=True):
                score = _score(self._config.box_score, of_map, record.score)
                if score >= self._config.min_score:
                    left, top, right, bottom = edges
                    found.append(Box(left, top, right, bottom, score, number))
        return tuple(sorted(found, key=lambda box: -box.score))

    def _mask(self, image: ImageMaps, pixels: torch.Tensor | None) -> NDArray[np.uint8]:
        maps = torch.from_numpy(np.stack([record.map for record in image.records]))
        classes = [self._numbers[record.class_index] for record in image.records]
        found: NDArray[np.uint8] = pseudo_mask(maps, classes, self._config.mask, pixels).numpy()
        return found


def _score(kind: str, of_map: float, of_class: float) -> float:
    score = {"map": of_map, "class": of_class, "product": of_map * of_class}[kind]
    return min(max(score, 0.0), 1.0)


def _pixels(image: ImageMaps, content: bytes) -> torch.Tensor:
    pixels = rgb_of(content, image.uri)
    height, width = pixels.shape[:2]
    if (height, width) != (image.height, image.width):
        raise OSError(
            f"{image.uri} has {width}x{height} pixels, but its maps have "
            f"{image.width}x{image.height}; was it replaced?"
        )
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)

"""Pseudo-masks and pseudo-boxes of many images judged by the truth of PASCAL VOC."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from jobs.benchmarks.measure import Row
from pipeline.sources.voc import VOC_CLASSES
from pipeline.truth import ClassTruth
from sess_kernels.metrics.localisation import (
    JudgedBoxes,
    average_precision,
    is_localised,
    judge_boxes,
)
from sess_kernels.metrics.segmentation import class_ious, confusion, mean_iou
from sess_kernels.pseudo import Boxes, MaskConfig

THRESHOLDS = tuple(step / 20 for step in range(1, 20))
"""Values of the background that are tried."""
_CLASSES = ("background", *VOC_CLASSES)


class MaskJudge:
    """Mean intersection over union over all images, the background's threshold chosen for it."""

    def __init__(self) -> None:
        n = len(_CLASSES)
        # of two halves, so that a threshold may be chosen on one for the other; which of them an
        # image is in depends on its id alone, as a run's rows come in the order of its shards' end
        self._counts = torch.zeros(2, len(THRESHOLDS), n, n, dtype=torch.long)
        self._images = 0

    def __bool__(self) -> bool:
        return bool(self._images)

    def add(self, image_id: str, maps: Tensor, classes: Sequence[int], true: Tensor) -> None:
        """Judge the masks of an image at every threshold.

        Args:
            image_id: Id of the image.
            maps: Maps (K, H, W).
            classes: Their classes, from 0.
            true: True mask (H, W).
        """
        best, which = maps.max(0)
        labels = (torch.tensor(classes) + 1)[which]
        half = zlib.crc32(image_id.encode()) % 2
        for place, threshold in enumerate(THRESHOLDS):
            mask = labels.masked_fill(best <= threshold, 0)
            self._counts[half, place] += confusion(mask, true, len(_CLASSES))
        self._images += 1

    def row(self) -> Row:
        """Mean IoU at the best threshold, at the default one, and with one of the other half."""
        counts = self._counts.sum(0)
        means = mean_iou(counts)
        place = int(means.argmax())
        default = THRESHOLDS.index(MaskConfig().background)
        chosen = [int(mean_iou(half).argmax()) for half in self._counts]
        crossed = self._counts[0, chosen[1]] + self._counts[1, chosen[0]]
        return {
            "miou": float(means[place]),
            "background": THRESHOLDS[place],
            "miou_at_default": float(means[default]),
            "miou_of_halves": float(mean_iou(crossed)),
            "iou": _by_name(_CLASSES, class_ious(counts[place]).tolist()),
            "masks": self._images,
        }


class BoxJudge:
    """CorLoc, and average precision where boxes are found if they meet at 0.5."""

    def __init__(self) -> None:
        self._hits: dict[int, list[bool]] = {}
        self._judged: dict[int, list[JudgedBoxes]] = {}
        self._by_class: dict[int, list[JudgedBoxes]] = {}

    def __bool__(self) -> bool:
        return bool(self._judged)

    def add(self, number: int, found: Boxes, score: float, true: ClassTruth) -> None:
        """Judge the boxes of a class in an image.

        Args:
            number: The class, from 0.
            found: Its boxes.
            score: Of the class in the image.
            true: The true ones.
        """
        plain = true.boxes[~true.difficult]
        if len(plain):
            self._hits.setdefault(number, []).append(is_localised(found.boxes, plain))
        for judged, factor in ((self._judged, 1.0), (self._by_class, score)):
            one = judge_boxes(found.boxes, found.scores * factor, true.boxes, true.difficult)
            judged.setdefault(number, []).append(one)

    def row(self) -> Row:
        """Over all pairs of image and class, and class by class."""
        precisions = {number: average_precision(one) for number, one in self._judged.items()}
        weighted = [average_precision(one) for one in self._by_class.values()]
        hits = [hit for one in self._hits.values() for hit in one]
        of_class = [float(np.mean(self._hits.get(n, [math.nan]))) for n in range(len(VOC_CLASSES))]
        return {
            "corloc": float(np.mean(hits)),
            "ap50": float(np.nanmean(list(precisions.values()))),
            "ap50_by_class_score": float(np.nanmean(weighted)),
            "corloc_of_class": _by_name(VOC_CLASSES, of_class),
            "ap50_of_class": _by_name(
                VOC_CLASSES, [precisions.get(n, math.nan) for n in range(len(VOC_CLASSES))]
            ),
            "pairs": len(hits),
            "boxes": sum(len(one.scores) for judged in self._judged.values() for one in judged),
            "true_boxes": sum(one.n_true for judged in self._judged.values() for one in judged),
        }


def _by_name(names: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    return {name: value for name, value in zip(names, values, strict=True) if not math.isnan(value)}

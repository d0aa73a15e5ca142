"""Judges of maps by regions and masks, and of points by whatever says where a class is."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.evaluation.config import EvaluationConfig
from pipeline.evaluation.judge import Case, Judge, Judged, Judgement
from pipeline.truth import ClassTruth
from pipeline.truth.base import UNKNOWN
from sess_kernels.metrics import PointingGame, PseudoMaskIoU, PxAP, is_difficult
from sess_kernels.metrics.pointing import pixels_inside


class PointingJudge(Judge):
    """The pointing game, on regions where annotations have them, else on boxes."""

    name = "pointing"
    values = ("pointing", "difficult")
    needs = ("boxes", "regions")

    def __init__(self, config: EvaluationConfig, n_classes: int) -> None:
        super().__init__(config, n_classes)
        self.metric = PointingGame(n_classes, tolerance=config.tolerance)

    def judge(self, case: Case) -> Judged:
        """A class all of whose objects are difficult ones of PASCAL is not judged."""
        found: Judged = []
        for _, map_, truth in case.known():
            if truth is None or not _is_there(truth):
                found.append(None)
                continue
            region = truth.region
            if region is None:
                region = pixels_inside(truth.boxes, tuple(map_.shape))
            assert case.truth is not None
            others = len(case.truth.classes) - 1 + len(case.truth.others)
            area = float(region.sum())
            hard = case.truth.labelled and is_difficult(area, region.numel(), others)
            statistics = self.metric.observe(map_, region, hard)
            values = {"pointing": float(statistics[0]), "difficult": float(hard)}
            found.append(Judgement(values, statistics))
        return found


class PxAPJudge(Judge):
    """PxAP, by the regions of classes or by masks of images."""

    name = "pxap"
    needs = ("masks", "regions")

    def __init__(self, config: EvaluationConfig, n_classes: int) -> None:
        super().__init__(config, n_classes)
        self.metric = PxAP(size=config.map_size)

    def judge(self, case: Case) -> Judged:
        """Judge every map of whose class the pixels are known."""
        found: Judged = []
        for index, map_, truth in case.known():
            pixels = _pixels_of(case, index, truth)
            found.append(
                None if pixels is None else Judgement({}, self.metric.observe(map_, pixels))
            )
        return found


class MaskJudge(Judge):
    """Pseudo-masks: all maps of an image together, against its mask."""

    name = "miou"
    is_of_images = True
    needs = ("masks",)

    def __init__(self, config: EvaluationConfig, n_classes: int) -> None:
        super().__init__(config, n_classes)
        self.metric = PseudoMaskIoU(n_classes + 1)

    def judge(self, case: Case) -> Judged:
        """Judge the image, if it has a mask."""
        mask = case.truth.mask if case.truth else None
        if mask is None:
            return [None]
        return [Judgement({}, self.metric.observe(case.maps, case.classes, mask))]


def _is_there(truth: ClassTruth) -> bool:
    """Whether annotations say where the class is, and not by difficult objects alone."""
    if len(truth.boxes):
        return not bool(truth.difficult.all())
    return truth.region is not None and bool(truth.region.any())


def _pixels_of(case: Case, index: int, truth: ClassTruth | None) -> Tensor | None:
    """uint8 (H, W): 1 the class, 0 something else, 255 nobody knows; None if nothing is known."""
    mask = case.truth.mask if case.truth else None
    if mask is not None:
        of_class = (mask == index + 1).to(torch.uint8)
        return of_class.masked_fill(mask == UNKNOWN, UNKNOWN)
    if truth is None or truth.region is None:
        return None
    region = truth.region.to(torch.uint8)
    return region if truth.unknown is None else region.masked_fill(truth.unknown, UNKNOWN)

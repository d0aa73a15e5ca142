"""How good saliency maps are: of one image, of many (``torchmetrics``), and within which interval.

Functions judge single maps; every class is a ``MapMetric``, figures of a sum of their statistics.
"""

from sess_kernels.metrics.base import MapMetric
from sess_kernels.metrics.boxes import MaxBoxAcc, best_ious, max_box_accuracy
from sess_kernels.metrics.curves import CurveSettings, MapQuery
from sess_kernels.metrics.insertion import (
    InsertionDeletion,
    InsertionDeletionMetric,
    ScoreCurves,
    insertion_deletion,
    score_curves,
)
from sess_kernels.metrics.intervals import Interval, PoissonBootstrap, bootstrap
from sess_kernels.metrics.localisation import (
    CorLoc,
    JudgedBoxes,
    Localisation,
    average_precision,
    is_localised,
    judge_boxes,
)
from sess_kernels.metrics.pixels import PxAP, pixel_histograms, pixel_precision
from sess_kernels.metrics.pointing import (
    PointingGame,
    is_difficult,
    mass_inside,
    pointing_hit,
    pointing_hits,
)
from sess_kernels.metrics.segmentation import (
    PseudoMaskIoU,
    class_ious,
    confusion,
    mask_overlaps,
    mean_iou,
)

__all__ = [
    "CorLoc",
    "CurveSettings",
    "InsertionDeletion",
    "InsertionDeletionMetric",
    "Interval",
    "JudgedBoxes",
    "Localisation",
    "MapMetric",
    "MapQuery",
    "MaxBoxAcc",
    "PointingGame",
    "PoissonBootstrap",
    "PseudoMaskIoU",
    "PxAP",
    "ScoreCurves",
    "average_precision",
    "best_ious",
    "bootstrap",
    "class_ious",
    "confusion",
    "insertion_deletion",
    "is_difficult",
    "is_localised",
    "judge_boxes",
    "mask_overlaps",
    "mass_inside",
    "max_box_accuracy",
    "mean_iou",
    "pixel_histograms",
    "pixel_precision",
    "pointing_hit",
    "pointing_hits",
    "score_curves",
]

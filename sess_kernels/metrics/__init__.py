"""How good saliency maps are: functions of one image, and intervals over many."""

from sess_kernels.metrics.boxes import best_ious, max_box_accuracy
from sess_kernels.metrics.insertion import InsertionDeletion, insertion_deletion
from sess_kernels.metrics.intervals import Interval, bootstrap
from sess_kernels.metrics.localisation import (
    JudgedBoxes,
    average_precision,
    is_localised,
    judge_boxes,
)
from sess_kernels.metrics.pointing import mass_inside, pointing_hit
from sess_kernels.metrics.segmentation import class_ious, confusion, mean_iou

__all__ = [
    "InsertionDeletion",
    "Interval",
    "JudgedBoxes",
    "average_precision",
    "best_ious",
    "bootstrap",
    "class_ious",
    "confusion",
    "insertion_deletion",
    "is_localised",
    "judge_boxes",
    "mass_inside",
    "max_box_accuracy",
    "mean_iou",
    "pointing_hit",
]

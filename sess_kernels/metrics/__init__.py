"""How good saliency maps are: functions of one image, and intervals over many."""

from sess_kernels.metrics.boxes import best_ious, max_box_accuracy
from sess_kernels.metrics.insertion import InsertionDeletion, insertion_deletion
from sess_kernels.metrics.intervals import Interval, bootstrap
from sess_kernels.metrics.pointing import mass_inside, pointing_hit

__all__ = [
    "InsertionDeletion",
    "Interval",
    "best_ious",
    "bootstrap",
    "insertion_deletion",
    "mass_inside",
    "max_box_accuracy",
    "pointing_hit",
]

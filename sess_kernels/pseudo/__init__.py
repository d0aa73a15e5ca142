"""Pseudo-labels: boxes and masks from saliency maps."""

from sess_kernels.pseudo.boxes import Boxes, pseudo_boxes
from sess_kernels.pseudo.config import BoxConfig, MaskConfig
from sess_kernels.pseudo.masks import pseudo_mask
from sess_kernels.pseudo.pamr import pamr

__all__ = ["BoxConfig", "Boxes", "MaskConfig", "pamr", "pseudo_boxes", "pseudo_mask"]

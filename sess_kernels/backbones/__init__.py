"""Classifiers, split at the layer that a base saliency method explains."""

from sess_kernels.backbones.base import Backbone, Preprocessing
from sess_kernels.backbones.loaders import IMAGENET_CLASSES, load_backbone

__all__ = ["IMAGENET_CLASSES", "Backbone", "Preprocessing", "load_backbone"]

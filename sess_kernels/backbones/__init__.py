"""Classifiers, split at the layer that a base saliency method explains."""

from sess_kernels.backbones.base import Backbone, Preprocessing
from sess_kernels.backbones.blackbox import BlackBox
from sess_kernels.backbones.loaders import imagenet_classes, load_backbone

__all__ = ["Backbone", "BlackBox", "Preprocessing", "imagenet_classes", "load_backbone"]

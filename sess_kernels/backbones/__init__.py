"""Classifiers, split at the layer that a base saliency method explains."""

from sess_kernels.backbones.base import Backbone, Preprocessing
from sess_kernels.backbones.blackbox import BlackBox
from sess_kernels.backbones.classifier import Classifier
from sess_kernels.backbones.loaders import imagenet_classes, load_backbone, load_classifier

__all__ = [
    "Backbone",
    "BlackBox",
    "Classifier",
    "Preprocessing",
    "imagenet_classes",
    "load_backbone",
    "load_classifier",
]

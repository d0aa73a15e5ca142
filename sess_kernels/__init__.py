"""SESS kernels: class saliency maps of images, in torch alone.

Example:
    >>> from skimage.data import chelsea
    >>> from sess_kernels import SESSConfig, sess
    >>> map_ = sess(chelsea(), class_index=285, config=SESSConfig(scales=2))
    >>> map_.shape
    torch.Size([300, 451])
"""

from sess_kernels.backbones import Backbone, BlackBox, Preprocessing, load_backbone
from sess_kernels.config import SESSConfig
from sess_kernels.errors import ConfigError, SessError
from sess_kernels.one import sess
from sess_kernels.results import ClassSaliency, PatchSaliency, PatchScores
from sess_kernels.sess import SESS
from sess_kernels.variants import fuse_patches

__all__ = [
    "SESS",
    "Backbone",
    "BlackBox",
    "ClassSaliency",
    "ConfigError",
    "PatchSaliency",
    "PatchScores",
    "Preprocessing",
    "SESSConfig",
    "SessError",
    "fuse_patches",
    "load_backbone",
    "sess",
]

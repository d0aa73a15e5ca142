"""Base saliency methods: one file each, and the registry of their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sess_kernels.errors import SessError, one_line, unknown
from sess_kernels.saliency.adapters import from_captum, from_pytorch_grad_cam, from_torchcam
from sess_kernels.saliency.augmented_gradcam import AugmentedGradCAM
from sess_kernels.saliency.base import (
    BaseMethod,
    FeatureMethod,
    GradientMethod,
    ImageMethod,
    Query,
)
from sess_kernels.saliency.blackbox import BlackBoxMethod, Explain
from sess_kernels.saliency.cam import CAM
from sess_kernels.saliency.excitation_backprop import ExcitationBackprop
from sess_kernels.saliency.extremal_perturbation import ExtremalPerturbation
from sess_kernels.saliency.gradcam import GradCAM
from sess_kernels.saliency.gradcam_pp import GradCAMPlusPlus
from sess_kernels.saliency.gradient import Gradient
from sess_kernels.saliency.groupcam import GroupCAM
from sess_kernels.saliency.guided_backprop import GuidedBackprop
from sess_kernels.saliency.hirescam import HiResCAM
from sess_kernels.saliency.integrated_gradients import IntegratedGradients
from sess_kernels.saliency.layercam import LayerCAM
from sess_kernels.saliency.options import read_options
from sess_kernels.saliency.rise import RISE
from sess_kernels.saliency.scorecam import ScoreCAM
from sess_kernels.saliency.smooth_gradcam_pp import SmoothGradCAMPlusPlus
from sess_kernels.saliency.smoothgrad import SmoothGrad
from sess_kernels.saliency.xrai import XRAI

METHODS: dict[str, type[BaseMethod]] = {
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "cam": CAM,
    "layercam": LayerCAM,
    "hirescam": HiResCAM,
    "smooth-gradcam++": SmoothGradCAMPlusPlus,
    "augmented-gradcam": AugmentedGradCAM,
    "excitation-backprop": ExcitationBackprop,
    "groupcam": GroupCAM,
    "scorecam": ScoreCAM,
    "rise": RISE,
    "extremal-perturbation": ExtremalPerturbation,
    "gradient": Gradient,
    "guided-backprop": GuidedBackprop,
    "integrated-gradients": IntegratedGradients,
    "smoothgrad": SmoothGrad,
    "xrai": XRAI,
}
"""Base methods by name."""


def base_method(
    method: str | BaseMethod | Explain, options: Mapping[str, Any] | None = None
) -> BaseMethod:
    """The base method that is meant.

    Args:
        method: A key of ``METHODS``, a base method, or any callable
            ``(images (N, 3, S, S), class_index (N,)) -> maps (N, h, w)``.
        options: Values for fields of a method given by name.

    Raises:
        SessError: If there is no such method or option, with the nearest names.

    Example:
        >>> base_method("gradcam").title
        'Grad-CAM'
    """
    if isinstance(method, type):
        raise SessError(f"method must be an object but is the class {method.__name__}; call it")
    if not isinstance(method, str):
        if options:
            raise SessError("options go with the name of a method; set them on the object")
        return method if isinstance(method, BaseMethod) else BlackBoxMethod(method)
    if method not in METHODS:
        raise SessError(unknown("method", method, METHODS))
    kind = METHODS[method]
    try:
        return kind(**read_options(method, kind, options or {}))
    except SessError:
        raise
    except ValueError as error:
        raise SessError(f"method {method} cannot be made: {one_line(error)}") from error


__all__ = [
    "METHODS",
    "BaseMethod",
    "BlackBoxMethod",
    "Explain",
    "FeatureMethod",
    "GradientMethod",
    "ImageMethod",
    "Query",
    "base_method",
    "from_captum",
    "from_pytorch_grad_cam",
    "from_torchcam",
]

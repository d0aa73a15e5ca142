"""Base saliency methods: one file each, and the registry of their names."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.errors import SessError, unknown
from sess_kernels.saliency.gradcam import gradcam

BaseMethod = Callable[[Backbone, Tensor, Tensor], Tensor]
"""``(backbone, features (N, C, h, w), class_index (N,)) -> maps (N, h, w)``."""

METHODS: dict[str, BaseMethod] = {"gradcam": gradcam}
"""Base methods by name."""

TITLES: dict[str, str] = {"gradcam": "Grad-CAM"}
"""What to call a base method where people read."""


def base_method(name: str) -> BaseMethod:
    """The base method of a name.

    Raises:
        SessError: If there is none, with the nearest names.

    Example:
        >>> base_method("gradcam") is gradcam
        True
    """
    if name not in METHODS:
        raise SessError(unknown("method", name, METHODS))
    return METHODS[name]


__all__ = ["METHODS", "TITLES", "BaseMethod", "base_method", "gradcam"]

"""Base saliency methods: one file each, and the registry of their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sess_kernels.errors import SessError, one_line, unknown
from sess_kernels.saliency.base import BaseMethod, FeatureMethod, ImageMethod, Query
from sess_kernels.saliency.blackbox import BlackBoxMethod, Explain
from sess_kernels.saliency.gradcam import GradCAM

METHODS: dict[str, type[BaseMethod]] = {
    "gradcam": GradCAM,
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
    if not isinstance(method, str):
        if options:
            raise SessError("options go with the name of a method; set them on the object")
        return method if isinstance(method, BaseMethod) else BlackBoxMethod(method)
    if method not in METHODS:
        raise SessError(unknown("method", method, METHODS))
    kind, options = METHODS[method], options or {}
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for option in options:
        if option not in known:
            raise SessError(unknown(f"option of method {method}", option, known))
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise SessError(f"method {method} cannot be made: {one_line(error)}") from error


__all__ = [
    "METHODS",
    "BaseMethod",
    "BlackBoxMethod",
    "Explain",
    "FeatureMethod",
    "ImageMethod",
    "Query",
    "base_method",
]

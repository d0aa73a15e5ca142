"""OpenCV, imported when it is needed."""

from __future__ import annotations

from typing import Any

from sess_kernels.errors import SessError


def opencv() -> Any:
    """The module ``cv2``.

    Raises:
        SessError: If it is missing.

    Example:
        >>> opencv().__name__
        'cv2'
    """
    try:
        import cv2
    except ImportError as error:
        raise SessError(
            "boxes of maps are drawn with OpenCV: pip install opencv-python-headless"
        ) from error
    return cv2

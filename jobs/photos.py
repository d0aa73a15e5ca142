"""Photographs that ship with scikit-image, and the ImageNet class to explain in each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sess_kernels.errors import SessError

PHOTOS = {"chelsea": 285, "coffee": 967, "rocket": 657, "motorcycle": 670, "camera": 872}
"""Their names in ``skimage.data``, more or less, and the classes."""


def photo(name: str) -> NDArray[np.uint8]:
    """The pixels of a photograph, (H, W, 3) or (H, W).

    Raises:
        SessError: If scikit-image is missing.

    Example:
        >>> photo("chelsea").shape
        (300, 451, 3)
    """
    try:
        from skimage import data
    except ImportError as error:
        raise SessError(
            'the photographs need their package: pip install "sess-pipeline[demo]"'
        ) from error
    found: Any = getattr(data, "stereo_motorcycle" if name == "motorcycle" else name)()
    pixels: NDArray[np.uint8] = found[0] if name == "motorcycle" else found
    return pixels

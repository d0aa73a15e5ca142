"""Masks as COCO run lengths, by ``pycocotools``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sess_kernels.errors import SessError


def check_installed() -> None:
    """Check that masks can be encoded.

    Raises:
        SessError: If ``pycocotools`` is not installed.
    """
    try:
        import pycocotools.mask  # noqa: F401
    except ImportError as error:
        raise SessError(
            'run lengths need pycocotools; pip install "sess-pipeline[coco]", or leave out '
            "--masks and --rle"
        ) from error


def encode(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """The COCO RLE of a mask (H, W), ready for JSON.

    Example:
        >>> encode(np.array([[False, True], [False, True]]))
        {'size': [2, 2], 'counts': '22'}
    """
    import pycocotools.mask

    found = pycocotools.mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(found["size"]), "counts": found["counts"].decode()}

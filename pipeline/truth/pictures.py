"""Masks as pictures: a PNG file of palette or grey values for each image."""

from __future__ import annotations

import io
import posixpath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline.files import Folder
from pipeline.images import MAX_PIXELS, too_large
from pipeline.truth.base import UNKNOWN, Size
from pipeline.truth.names import stem, without_ending
from sess_kernels.errors import SessError, one_line

_MODES = ("P", "L", "1")  # one number of 8 bits for each pixel
_NONE = -1

Values = NDArray[np.int16]
"""For each value of a mask the value that this project gives it, (256,); -1 for none."""


def values_of(numbers: list[int | None]) -> Values:
    """What becomes of the values of masks: 0 background, 255 nobody knows, others classes.

    Args:
        numbers: Class index of value 1, 2, ...; None for a class that the run does not have, which
            is background.

    Example:
        >>> values_of([4, None])[[0, 1, 2, 3, 255]].tolist()
        [0, 5, 0, -1, 255]
    """
    found = np.full(256, _NONE, np.int16)
    found[[0, UNKNOWN]] = 0, UNKNOWN
    for value, number in enumerate(numbers[: UNKNOWN - 1], 1):
        found[value] = 0 if number is None else number + 1
    return found


def has_picture(folder: Folder, image_id: str) -> bool:
    """Whether an image has a mask, see ``read_picture``."""
    return any(folder.exists(name) for name in _names(image_id))


def read_picture(folder: Folder, image_id: str) -> tuple[str, NDArray[np.uint8] | None]:
    """The mask of an image and where it is; None if there is none.

    It is the PNG file with the path of the image id in the folder, or else with its name.

    Raises:
        SessError: If it is no picture of one number for each pixel.
    """
    uri = ""
    for name in _names(image_id):
        uri = f"{folder.uri}/{name}"
        try:
            return uri, _pixels(folder.read(name), uri)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, SyntaxError) as error:  # PIL raises the last one of a PNG
            if isinstance(error, SessError):
                raise
            raise SessError(f"{uri} cannot be read: {one_line(error)}; it is left out") from error
    return uri, None


def fitting_picture(
    folder: Folder, image_id: str, size: Size | None, faults: list[str]
) -> tuple[str, NDArray[np.uint8]] | None:
    """A mask as it is stored and its path, or None if there is none that can be used.

    Args:
        folder: Where masks are.
        image_id: Id of the image.
        size: Height and width that it should have, if known.
        faults: Takes what is wrong.
    """
    try:
        uri, picture = read_picture(folder, image_id)
    except SessError as error:
        faults.append(str(error))
        return None
    if picture is None or not fits(picture, size, uri, faults):
        return None
    return uri, picture


def read_mask(
    folder: Folder, image_id: str, values: Values, size: Size | None, faults: list[str]
) -> Tensor | None:
    """The mask of an image with class index + 1 where a class is.

    Args:
        folder: Where masks are.
        image_id: Id of the image.
        values: See ``values_of``.
        size: Height and width that it should have, if known.
        faults: Takes what is wrong.

    Returns:
        uint8 (H, W), or None if there is none that can be used.
    """
    fitting = fitting_picture(folder, image_id, size, faults)
    if fitting is None:
        return None
    uri, picture = fitting
    found = values[picture]
    strange = np.unique(picture[found == _NONE]).tolist()
    if strange:
        shown = ", ".join(map(str, strange[:5])) + (", ..." if len(strange) > 5 else "")
        faults.append(f"{uri}: the values {shown} stand for no class; nobody knows these pixels")
        found = np.where(found == _NONE, UNKNOWN, found)
    return torch.from_numpy(found.astype(np.uint8))


def fits(picture: NDArray[np.uint8], size: Size | None, uri: str, faults: list[str]) -> bool:
    """Whether a mask has the size of its image; else tells."""
    if size is None or picture.shape == size:
        return True
    theirs, ours = (f"{width}x{height}" for height, width in (picture.shape, size))
    faults.append(f"{uri} has {theirs} pixels but its image has {ours}; it is left out")
    return False


def _names(image_id: str) -> list[str]:
    """Files that the mask of an image may be; they stay inside their folder."""
    path, own = posixpath.normpath(without_ending(image_id)), stem(image_id)
    names = [own] if path.startswith(("..", "/")) else [path, own]
    return [f"{name}.png" for name in dict.fromkeys(names)]


def _pixels(content: bytes, uri: str) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        if image.width * image.height > MAX_PIXELS:
            raise SessError(too_large(uri, image.width * image.height, MAX_PIXELS))
        if image.mode not in _MODES:
            raise SessError(
                f"{uri} is a picture of mode {image.mode}, not of one number of 8 bits for each "
                "pixel; it is left out"
            )
        return np.array(image).astype(np.uint8)

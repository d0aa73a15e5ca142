"""Image files: sizes from headers, and pixels as RGB."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

_TURNED = frozenset({5, 6, 7, 8})  # EXIF orientations that swap height and width


def image_size(uri: str) -> tuple[int, int]:
    """Height and width after EXIF rotation, from the header alone.

    Raises:
        OSError: If the file is missing or no image.
    """
    with _opened(uri) as image:
        width, height = image.size
        # asked for EXIF, PIL decodes a whole PNG that has none before its pixels
        has_exif = image.format != "PNG" or "exif" in image.info
        turned = has_exif and image.getexif().get(ExifTags.Base.Orientation) in _TURNED
    return (width, height) if turned else (height, width)


def read_rgb(uri: str) -> NDArray[np.uint8]:
    """Pixels as ``uint8 (H, W, 3)`` RGB after EXIF rotation.

    Grey, palette, CMYK and 16-bit images are converted; transparency is dropped, as the loaders of
    torchvision and timm do.

    Raises:
        OSError: If the file is missing, cut short or no image.
    """
    with _opened(uri) as image:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL comments on metadata it repairs
            upright = ImageOps.exif_transpose(image)
        return np.asarray(_to_8_bit(upright).convert("RGB"))


@contextmanager
def _opened(uri: str) -> Iterator[Image.Image]:
    with fsspec.open(uri, "rb") as file:
        try:
            image = Image.open(file)
        except UnidentifiedImageError:  # PIL's message names the open file object
            raise OSError(f"{uri} is no image of a known format") from None
        with image:
            yield image


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Grey images of more than 8 bits with their high byte; PIL's own conversion clips them."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        scale = 255 if values.max(initial=0) <= 1 else 1
        return Image.fromarray((values * scale).clip(0, 255).astype(np.uint8))
    return image

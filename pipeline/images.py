"""Image files: sizes from headers, and pixels as RGB, both within a limit of pixels.

A small file may claim an image that fills the memory: ``max_pixels`` is held against the header
before anything is decoded. It takes the place of PIL's own limit, which is switched off here.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from pipeline.members import Opened, open_image, read_image_bytes
from pipeline.stores import Held
from sess_kernels.errors import SessError

MAX_PIXELS = 2**28
"""Pixels of an image, at most: 0.8 GB of RGB."""

FORMATS = frozenset(Image.registered_extensions().values()) & frozenset(Image.OPEN) - {
    *("BLP", "ICNS", "ICO", "IPTC"),  # hold images whose size their own header does not tell
    *("EPS", "MPEG", "WMF"),  # are run or played, not decoded
    *("BUFR", "GRIB", "HDF5"),  # PIL knows their names only
}
"""Formats that are read, by PIL's names."""

EXTENSIONS = frozenset(
    ending for ending, kind in Image.registered_extensions().items() if kind in FORMATS
)
"""Endings of the names of such files, in lower case, with the dot."""

_TURNED = frozenset({5, 6, 7, 8})  # EXIF orientations that swap height and width
_TIFF_SIZE = (ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength)
_FIRST_READ = 2**14  # bytes; the header of most files is in them
_GROWTH = 4

Image.MAX_IMAGE_PIXELS = None


def image_size(uri: str, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Height and width after EXIF rotation, from the header alone.

    The first 16 KiB of the file are read, and more only if the header is longer. AVIF files, and
    WebP files with EXIF, are read as a whole, and so are images in Parquet files.

    Args:
        uri: An image file, or an image inside a container, see ``pipeline.members``.
        max_pixels: Pixels that it may have at most.

    Raises:
        OSError: If the file is missing or no image.
        SessError: If it has more than ``max_pixels`` pixels.
    """
    with open_image(uri) as file:
        return _upright_size(cast(IO[bytes], _Header(file)), uri, max_pixels)


def size_of(content: bytes, uri: str, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Height and width of an encoded image, as ``image_size`` has them; ``uri`` is for messages."""
    return _upright_size(io.BytesIO(content), uri, max_pixels)


def read_rgb(uri: str, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Pixels as ``uint8 (H, W, 3)`` RGB after EXIF rotation.

    Grey, palette, CMYK and 16-bit images are converted; transparency is dropped, as the loaders of
    torchvision and timm do.

    Args:
        uri: An image file, or an image inside a container, see ``pipeline.members``.
        max_pixels: Pixels that it may have at most.

    Raises:
        OSError: If the file is missing, cut short or no image.
        SessError: If its header claims more than ``max_pixels`` pixels.
    """
    return rgb_of(read_image_bytes(uri), uri, max_pixels)


def rgb_of(content: bytes, uri: str, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Pixels of an encoded image, as ``read_rgb`` has them; ``uri`` is for messages."""
    with _opened(io.BytesIO(content), uri, max_pixels) as image:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL comments on metadata it repairs
            upright = ImageOps.exif_transpose(image)
        return np.asarray(_to_8_bit(upright).convert("RGB"))


def too_large(uri: str, pixels: int, max_pixels: int) -> str:
    """Why an image of so many pixels is left out, and what to do.

    Example:
        >>> too_large("a.png", 400_000_000, 2**28)[:56]
        'a.png has 400000000 pixels, more than the limit of 26843'
    """
    return (
        f"{uri} has {pixels} pixels, more than the limit of {max_pixels}; raise --max-pixels or "
        "leave it out"
    )


def _upright_size(file: IO[bytes], uri: str, max_pixels: int) -> tuple[int, int]:
    webp = _webp_size(file)  # PIL reads a WebP file as a whole
    if webp and not webp[2] and webp[0] * webp[1] <= max_pixels:
        return webp[:2]
    with _opened(file, uri, max_pixels) as image:
        width, height = image.size
        if isinstance(image, TiffImageFile):  # PIL has turned its size already
            width, height = (image.tag_v2[tag] for tag in _TIFF_SIZE)
        # asked for EXIF, PIL decodes a whole PNG that has none before its pixels
        has_exif = image.format != "PNG" or "exif" in image.info
        turned = has_exif and image.getexif().get(ExifTags.Base.Orientation) in _TURNED
    return (width, height) if turned else (height, width)


@contextmanager
def _opened(file: IO[bytes], uri: str, max_pixels: int) -> Iterator[Image.Image]:
    webp = _webp_size(file)  # PIL takes memory for the pixels when it opens a WebP file
    if webp and webp[0] * webp[1] > max_pixels:
        raise SessError(too_large(uri, webp[0] * webp[1], max_pixels))
    try:
        image = Image.open(file, formats=sorted(FORMATS))
    except UnidentifiedImageError:  # PIL's message names the open file object
        raise OSError(f"{uri} is no image of a known format") from None
    with image:
        if image.width * image.height > max_pixels:
            raise SessError(too_large(uri, image.width * image.height, max_pixels))
        yield image


def _webp_size(file: IO[bytes]) -> tuple[int, int, bool] | None:
    """Height, width and whether there is EXIF, from the first bytes; ``None`` if no WebP."""
    head = file.read(30)
    file.seek(0)
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < 30:
        return None
    if head[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
        return height, width, bool(head[20] & 8)
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF), False
    if head[12:16] == b"VP8 ":
        width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (26, 28))
        return height, width, False
    return None


class _Header(Held):
    """A file of which little is fetched: 16 KiB, then four times more each time it does not do."""

    def __init__(self, file: Opened) -> None:
        super().__init__(file.size())
        self._file = file
        self._next = _FIRST_READ

    def _fetch(self, end: int) -> None:
        """Hold the bytes from here to ``end``, and some more."""
        held_until = self._start + len(self._held)
        if self._start <= self._at <= held_until:
            self._held += self._range(held_until, max(end - held_until, self._next))
            self._next *= _GROWTH
        else:
            self._start = self._at
            self._held = self._range(self._at, max(end - self._at, _FIRST_READ))

    def _range(self, start: int, length: int) -> bytes:
        return self._file.read_at(min(length, self._size - start), start)


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

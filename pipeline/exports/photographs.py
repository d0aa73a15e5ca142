"""Photographs of an export: copied upright, or linked."""

from __future__ import annotations

import io
import os
from pathlib import Path

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from pipeline.files import Folder
from pipeline.images import FORMATS
from pipeline.members import member_of, read_image_bytes
from pipeline.stores import file_system
from sess_kernels.errors import SessError, one_line

_QUALITY = 95  # of a photograph that had to be turned


def read_photograph(uri: str, content: bytes | Exception | None = None) -> bytes:
    """The bytes of an image file, or of an image inside a container.

    Args:
        uri: Where it is.
        content: What was read of it before, or what hindered it.

    Raises:
        OSError: If it is missing or cannot be read.
    """
    if isinstance(content, Exception):
        raise OSError(one_line(content)) from content
    return read_image_bytes(uri) if content is None else content


def upright(content: bytes, uri: str) -> bytes:
    """A photograph as it is, or turned if EXIF says so, as its map is.

    Many readers do not heed EXIF, and boxes would lie elsewhere.

    Raises:
        OSError: If it is no image.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=sorted(FORMATS))
    except UnidentifiedImageError:
        raise OSError(f"{uri} is no image of a known format") from None
    with image:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return content
        file = io.BytesIO()
        ImageOps.exif_transpose(image).save(file, image.format, quality=_QUALITY)
        return file.getvalue()


def link(uri: str, dest: Folder, name: str) -> None:
    """Let ``name`` in ``dest``, on this machine, be a symbolic link to a photograph.

    Raises:
        SessError: If the photograph is elsewhere.
    """
    path = Path(dest.path) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(local_path(uri))


def local_path(uri: str) -> Path:
    """Where a photograph is on this machine.

    Raises:
        SessError: If it is elsewhere, or inside a container.
    """
    if member_of(uri) is not None or not Folder.of(os.path.dirname(uri)).is_local:  # noqa: PTH120
        raise SessError(f"{uri} is no file of this machine, so no link; give --images copy")
    return Path(file_system(uri)[1])

"""Maps as they are stored: lossless PNG or raw floats, in the row or in a file of its own."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Map = NDArray[np.float32]


def encode_map(values: Map, dtype: str) -> bytes:
    """A map (H, W) in [0, 1] as PNG (uint8, uint16) or raw little-endian floats.

    Example:
        >>> encode_map(np.zeros((2, 2), np.float32), "uint8")[1:4]
        b'PNG'
    """
    if dtype.startswith("float"):
        return values.astype(np.dtype(dtype).newbyteorder("<")).tobytes()
    whole = np.iinfo(dtype).max
    image = Image.fromarray((values * whole).round().astype(dtype))
    file = io.BytesIO()
    image.save(file, "png", compress_level=3)
    return file.getvalue()


def decode_map(data: bytes, dtype: str, shape: list[int]) -> Map:
    """The map (H, W) in [0, 1] that ``encode_map`` wrote.

    Example:
        >>> values = np.array([[0.0, 1.0]], np.float32)
        >>> decode_map(encode_map(values, "uint16"), "uint16", [1, 2]).tolist()
        [[0.0, 1.0]]
    """
    if dtype.startswith("float"):
        flat = np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))
        return flat.reshape(shape).astype(np.float32)
    with Image.open(io.BytesIO(data)) as image:
        values: NDArray[Any] = np.asarray(image)
    return (values / np.float32(np.iinfo(dtype).max)).astype(np.float32)

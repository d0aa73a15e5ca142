"""Maps as they are stored: lossless PNG or raw floats, in the row or in a file of its own.

With a stride a map is stored reduced, and enlarged when it is read. Both ways are bilinear with
half-pixel centres: of the maps of SESS that keeps more than the mean of an area does, see
``sess bench --what sizes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from sess_kernels.errors import SessError

Map = NDArray[np.float32]

# one filter for all rows, each minus the row above: smaller than the best of all filters for each
# row, which PIL takes, and read in 0.6 of the time; see `sess bench --what sizes`
_PNG = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 3),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
]


def encode_map(values: Map, dtype: str) -> bytes:
    """A map (H, W) in [0, 1] as PNG (uint8, uint16) or raw little-endian floats.

    Example:
        >>> encode_map(np.zeros((2, 2), np.float32), "uint8")[1:4]
        b'PNG'
    """
    if dtype.startswith("float"):
        return values.astype(np.dtype(dtype).newbyteorder("<")).tobytes()
    whole = np.iinfo(dtype).max
    content: bytes = cv2.imencode(".png", (values * whole).round().astype(dtype), _PNG)[1].tobytes()
    return content


def decode_map(data: bytes, dtype: str, shape: Sequence[int]) -> Map:
    """The map (H, W) in [0, 1] that ``encode_map`` wrote.

    Raises:
        SessError: If it is broken.

    Example:
        >>> values = np.array([[0.0, 1.0]], np.float32)
        >>> decode_map(encode_map(values, "uint16"), "uint16", [1, 2]).tolist()
        [[0.0, 1.0]]
    """
    return to_unit(decode_values(data, dtype, shape))


def decode_values(data: bytes | memoryview, dtype: str, shape: Sequence[int]) -> NDArray[Any]:
    """A stored map (H, W) in its own type; floats are a view of the data.

    Raises:
        SessError: If it is broken.
    """
    if dtype.startswith("float"):
        kind = np.dtype(dtype).newbyteorder("<")
        flat = np.frombuffer(data, kind) if len(data) % kind.itemsize == 0 else np.zeros(0)
        if flat.size == np.prod(shape):
            return flat.reshape(shape)
    elif len(data):
        # OpenCV takes 0.8 times as long as PIL, and says None to what is cut short
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if values is not None and values.dtype == dtype and values.shape == tuple(shape):
            return values
    height, width = shape
    raise SessError(f"a stored map is broken: no {dtype} of {height}x{width} in {len(data)} bytes")


def to_unit(values: NDArray[Any]) -> Map:
    """Values as they are stored to float32 in [0, 1].

    Example:
        >>> to_unit(np.array([0, 255], np.uint8)).tolist()
        [0.0, 1.0]
    """
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    return (values / np.float32(np.iinfo(values.dtype).max)).astype(np.float32)


def reduce_map(values: Map, stride: int) -> Map:
    """A map (H, W) at (ceil(H / stride), ceil(W / stride)).

    Example:
        >>> reduce_map(np.zeros((375, 500), np.float32), 4).shape
        (94, 125)
    """
    height, width = values.shape
    return _resized(values, (-(-height // stride), -(-width // stride)))


def enlarge_map(values: Map, size: tuple[int, int]) -> Map:
    """A map that ``reduce_map`` made, at the size (H, W) that it had, in [0, 1].

    Example:
        >>> enlarge_map(np.ones((94, 125), np.float32), (375, 500)).shape
        (375, 500)
    """
    return values if values.shape == size else _resized(values, size).clip(0, 1)


def _resized(values: Map, size: tuple[int, int]) -> Map:
    if values.shape == size:
        return values
    map_ = torch.from_numpy(np.ascontiguousarray(values))[None, None]
    resized = functional.interpolate(map_, size, mode="bilinear", align_corners=False)
    found: Map = resized[0, 0].numpy()
    return found

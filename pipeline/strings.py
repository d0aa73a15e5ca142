"""Arrow's strings and lists as NumPy sees them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def raw_strings(texts: pa.StringArray) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Offsets (N + 1,) of strings without nulls, from 0, and their UTF-8 bytes.

    Example:
        >>> offsets, content = raw_strings(pa.array(["a", "bcd"]).slice(1))
        >>> offsets.tolist(), content.tobytes()
        ([0, 3], b'bcd')
    """
    _, offsets, content = texts.buffers()
    if not len(texts) or content is None:
        return np.zeros(len(texts) + 1, np.int32), np.zeros(0, np.uint8)
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return ends - ends[0], np.frombuffer(content, np.uint8)[ends[0] : ends[-1]]


def holds(texts: pa.StringArray, character: str) -> bool:
    """Whether an ASCII character is in any of the texts; what lies below a null counts too.

    Example:
        >>> holds(pa.array(["a", "b|c"]), "|"), holds(pa.array(["a"]), "|")
        (True, False)
    """
    return bool((raw_strings(texts)[1] == ord(character)).any())


def offsets_of(lengths: NDArray[np.int64]) -> pa.Int32Array:
    """Offsets of lists of these lengths.

    Example:
        >>> offsets_of(np.array([2, 0, 1])).to_pylist()
        [0, 2, 2, 3]
    """
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))

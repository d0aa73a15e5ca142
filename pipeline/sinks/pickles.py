"""Pickles of arrays that every numpy loads.

numpy >= 2 pickles an array as a call of ``numpy._core.multiarray._reconstruct``, which numpy 1
cannot import. That call makes an empty array for the state that follows it, and ``numpy.ndarray``
does the same under a name that all versions have.
"""

from __future__ import annotations

import io
import operator
import pickle
from typing import Any, BinaryIO

import numpy as np

from sess_kernels.errors import SessError, one_line

_PROTOCOL = 4


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is np.ndarray:
            return np.ndarray, ((0,), "b"), obj.__reduce__()[2]
        if isinstance(obj, np.generic):
            return operator.getitem, (np.asarray(obj), ())
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array")


def dump(obj: Any, file: BinaryIO) -> None:
    """Pickle an object of arrays, lists, dicts and the like so that numpy 1 and 2 load it.

    Args:
        obj: What to pickle; arrays of a subclass of ``numpy.ndarray`` are left as they are.
        file: File open for binary writing.

    Example:
        >>> file = io.BytesIO()
        >>> dump({"boxes": np.ones((1, 4))}, file)
        >>> pickle.loads(file.getvalue())["boxes"].tolist()
        [[1.0, 1.0, 1.0, 1.0]]
    """
    _Pickler(file, _PROTOCOL).dump(obj)


def dumps(obj: Any) -> bytes:
    """The bytes of ``dump``.

    Example:
        >>> b"numpy._core" in dumps([np.zeros(3), np.float32(1)])
        False
    """
    file = io.BytesIO()
    dump(obj, file)
    return file.getvalue()


def save_npy(obj: Any, file: BinaryIO) -> None:
    """Write an object as an ``.npy`` file; ``np.load(FILE, allow_pickle=True).item()`` is it again.

    Args:
        obj: What to save, as for ``dump``.
        file: File open for binary writing.

    Example:
        >>> file = io.BytesIO()
        >>> save_npy({3: np.zeros((1, 2))}, file)
        >>> _ = file.seek(0)
        >>> np.load(file, allow_pickle=True).item()
        {3: array([[0., 0.]])}
    """
    holder = np.empty((), object)
    holder[()] = obj
    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(file, header)
    dump(holder, file)


def load_npy(content: bytes) -> Any:
    """What is in an ``.npy`` file, ours or numpy's: an array, or the object of ``save_npy``.

    Nothing but arrays and Python's own containers is unpickled, so that no file runs code.

    Raises:
        SessError: If it holds something else, or ends early.

    Example:
        >>> file = io.BytesIO()
        >>> save_npy({3: np.zeros((1, 2))}, file)
        >>> load_npy(file.getvalue())
        {3: array([[0., 0.]])}
    """
    file = io.BytesIO(content)
    try:
        np.lib.format.read_magic(file)
        if np.lib.format.read_array_header_1_0(file)[2].hasobject:
            return _Unpickler(file).load().item()
        file.seek(0)
        return np.load(file)
    except Exception as error:  # bytes of any other kind may raise anything
        raise SessError(f"NPY file cannot be read: {one_line(error)[:160]}") from error

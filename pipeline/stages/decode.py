"""Decode: planned rows into rows with RGB pixels."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.images import read_rgb, rgb_of
from pipeline.members import RowReader, is_row
from pipeline.records import DECODED_SCHEMA
from sess_kernels.errors import one_line

Pixels = NDArray[np.uint8]

_READERS = 16


class DecodeWorker:
    """Reads the image of every row; a row whose image cannot be read carries the reason.

    Args:
        max_pixels: Images of more pixels are not decoded.
    """

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._rows = RowReader()  # goes on where the last batch ended in a Parquet file

    def __call__(self, planned: pa.Table) -> pa.Table:
        """Rows of ``PLAN_SCHEMA`` to rows of ``DECODED_SCHEMA``."""
        errors = planned["error"].to_pylist()
        left = [number for number, error in enumerate(errors) if error is None]
        uris = planned["uri"].to_pylist()
        found: list[Pixels | str] = [error or "" for error in errors]
        for number, one in zip(left, self.pixels([uris[n] for n in left]), strict=True):
            found[number] = one
        return _decoded(planned, found)

    def pixels(self, uris: Sequence[str]) -> list[Pixels | str]:
        """The images (H, W, 3), or why one cannot be read."""
        found: list[Pixels | str] = [""] * len(uris)
        rows = [number for number, uri in enumerate(uris) if is_row(uri)]
        files = [number for number, uri in enumerate(uris) if not is_row(uri)]
        n_readers = _READERS if any("://" in uris[n] for n in files) else 1  # a store answers late
        with ThreadPoolExecutor(n_readers) as pool:
            decoded = pool.map(self._read, [uris[number] for number in files])
            for number, one in zip(files, decoded, strict=True):
                found[number] = one
        contents = self._rows.read_many(uris[number] for number in rows)
        for number, content in zip(rows, contents, strict=True):
            found[number] = self._read(uris[number], content)
        return found

    def failed(self, planned: pa.Table, reason: str) -> pa.Table:
        """The rows with a reason in place of pixels."""
        return _decoded(planned, [reason] * planned.num_rows)

    def _read(self, uri: str, content: bytes | Exception | None = None) -> Pixels | str:
        try:
            if content is None:
                return read_rgb(uri, self._max_pixels)
            if isinstance(content, Exception):
                raise content
            return rgb_of(content, uri, self._max_pixels)
        except Exception as fault:  # a decoder may raise anything; the row says so, others go on
            return one_line(fault)


def _decoded(planned: pa.Table, found: list[Pixels | str]) -> pa.Table:
    sizes = np.stack([planned["height"].to_numpy(), planned["width"].to_numpy()], axis=1)
    for i, one in enumerate(found):
        if not isinstance(one, str):
            sizes[i] = one.shape[:2]
    columns = {name: planned[name] for name in planned.column_names}
    columns["height"], columns["width"] = (pa.array(side, pa.int32()) for side in sizes.T)
    columns["error"] = pa.array([one if isinstance(one, str) else None for one in found])
    pixels = [None if isinstance(one, str) else np.ascontiguousarray(one).data for one in found]
    columns["pixels"] = pa.array(pixels, pa.large_binary())
    return pa.table(columns).select(DECODED_SCHEMA.names).cast(DECODED_SCHEMA)

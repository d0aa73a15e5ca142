"""Decode: planned rows into rows with RGB pixels."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pipeline.images import read_rgb
from pipeline.records import DECODED_SCHEMA
from sess_kernels.errors import one_line


class DecodeWorker:
    """Reads the image of every row; a row whose image cannot be read carries the reason."""

    def __call__(self, planned: pa.Table) -> pa.Table:
        """Rows of ``PLAN_SCHEMA`` to rows of ``DECODED_SCHEMA``."""
        return pa.Table.from_pylist([_decode(row) for row in planned.to_pylist()], DECODED_SCHEMA)


def _decode(row: dict[str, Any]) -> dict[str, Any]:
    if row["error"] is not None:
        return row
    try:
        pixels = read_rgb(row["uri"])
    except Exception as error:  # a decoder may raise anything; the row says so, others go on
        return row | {"error": one_line(error)}
    height, width, _ = pixels.shape
    return row | {"height": height, "width": width, "pixels": pixels.tobytes()}

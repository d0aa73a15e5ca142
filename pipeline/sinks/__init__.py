"""Sinks: rows with float32 maps into the rows and files of OUT."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.files import Folder
from pipeline.layout import NPY_FOLDER
from pipeline.names import safe_name
from pipeline.records import FAILED, RESULT_SCHEMA
from pipeline.sinks.encode import decode_map, encode_map


class EncodeWorker:
    """Encodes the maps of result rows and writes the NPY files, if asked for.

    Writing a row again leaves the same files, so that a repeated batch does no harm.

    Args:
        out: Folder of the run.
        formats: ``"parquet"``, ``"npy"`` or both.
        map_dtype: Type of the stored maps; NPY files hold floats, float32 where it is an integer.
    """

    def __init__(self, out: Folder, formats: tuple[str, ...], map_dtype: str) -> None:
        self._out = out
        self._fold_case = "npy" in formats and out.ignores_case()
        self._formats = formats
        self._map_dtype = map_dtype
        self._npy_dtype = map_dtype if map_dtype.startswith("float") else "float32"

    def __call__(self, results: pa.Table) -> pa.Table:
        """Rows of ``RESULT_SCHEMA`` with float32 maps to rows as they are stored."""
        rows = results.to_pylist()
        for row in rows:
            for target in row["targets"]:
                self._store(row["image_id"], target)
                for patch in target["patches"] or ():
                    values = decode_map(patch["map"], "float32", patch["map_shape"])
                    patch["map"] = encode_map(values, self._map_dtype)
                    patch["map_dtype"] = self._map_dtype
        return pa.Table.from_pylist(rows, RESULT_SCHEMA)

    def failed(self, results: pa.Table, reason: str) -> pa.Table:
        """The rows with a reason in place of maps."""
        rows = results.to_pylist()
        lost = {"status": FAILED, "error": reason, "n_patches": 0, "targets": []}
        return pa.Table.from_pylist([row | lost for row in rows], RESULT_SCHEMA)

    def _store(self, image_id: str, target: dict[str, Any]) -> None:
        values = decode_map(target["map"]["bytes"], "float32", target["map_shape"])
        stored: dict[str, Any] = {"bytes": None, "path": None}
        if "parquet" in self._formats:
            stored["bytes"] = encode_map(values, self._map_dtype)
            target["map_dtype"] = self._map_dtype
        if "npy" in self._formats:
            name = safe_name(image_id, fold_case=self._fold_case)
            path = f"{NPY_FOLDER}/{name}/{target['class_index']}.npy"
            with self._out.writing(path) as file:
                np.save(file, values.astype(self._npy_dtype))
            stored["path"] = path
        if "parquet" not in self._formats:
            target["map_dtype"] = self._npy_dtype
        target["map"] = stored


__all__ = ["EncodeWorker", "decode_map", "encode_map"]

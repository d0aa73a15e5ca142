"""Sinks: rows with float32 maps into the rows and files of OUT."""

from __future__ import annotations

from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.files import Folder
from pipeline.layout import NPY_FOLDER
from pipeline.records import FAILED, RESULT_SCHEMA
from pipeline.sinks.encode import Map, decode_map, encode_map, reduce_map
from pipeline.sinks.layouts import LayoutOptions, write_layout


class _ClassMap(NamedTuple):
    class_index: int
    score: float
    map: Map


class EncodeWorker:
    """Encodes the maps of result rows and writes the NPY files, if asked for.

    Writing a row again leaves the same files, so that a repeated batch does no harm.

    Args:
        out: Folder of the run.
        formats: ``"parquet"``, ``"npy"`` or both.
        map_dtype: Type of the stored maps; NPY files hold floats, float32 where it is an integer.
        map_stride: How many times the maps in the rows are reduced; NPY files keep their size.
        npy_layout: Layout of the NPY files, see ``layouts``.
    """

    def __init__(
        self,
        out: Folder,
        formats: tuple[str, ...],
        map_dtype: str,
        *,
        map_stride: int = 1,
        npy_layout: str = "plain",
    ) -> None:
        self._out = out
        self._fold_case = "npy" in formats and out.ignores_case()
        self._formats = formats
        self._map_dtype = map_dtype
        self._map_stride = map_stride
        self._npy_layout = npy_layout
        asked = npy_layout == "plain" and map_dtype.startswith("float")
        self._npy_dtype = map_dtype if asked else "float32"

    def __call__(self, results: pa.Table) -> pa.Table:
        """Rows of ``RESULT_SCHEMA`` with float32 maps to rows as they are stored."""
        rows = results.to_pylist()
        for row in rows:
            self._store(row["image_id"], row["targets"])
            for target in row["targets"]:
                for patch in target["patches"] or ():
                    values = decode_map(patch["map"], "float32", patch["map_shape"])
                    if self._map_dtype.startswith("uint"):
                        values = values.clip(0, 1)  # enlarged it spans 0 to 1, small a little more
                    patch["map"] = encode_map(values, self._map_dtype)
                    patch["map_dtype"] = self._map_dtype
        return pa.Table.from_pylist(rows, RESULT_SCHEMA)

    def failed(self, results: pa.Table, reason: str) -> pa.Table:
        """The rows with a reason in place of maps."""
        rows = results.to_pylist()
        lost = {"status": FAILED, "error": reason, "n_patches": 0, "targets": []}
        return pa.Table.from_pylist([row | lost for row in rows], RESULT_SCHEMA)

    def _store(self, image_id: str, targets: list[dict[str, Any]]) -> None:
        maps = [decode_map(of["map"]["bytes"], "float32", of["map_shape"]) for of in targets]
        paths = self._write(image_id, targets, maps)
        for target, values, path in zip(targets, maps, paths, strict=True):
            target["map"] = {"bytes": None, "path": path}
            if "parquet" in self._formats:
                reduced = reduce_map(values, self._map_stride)
                target["map"]["bytes"] = encode_map(reduced, self._map_dtype)
                target |= {"map_dtype": self._map_dtype, "map_shape": list(reduced.shape)}
            else:
                target["map_dtype"] = self._npy_dtype

    def _write(
        self, image_id: str, targets: list[dict[str, Any]], maps: list[Map]
    ) -> list[str | None]:
        """The NPY file of each map, if such are asked for."""
        if "npy" not in self._formats or not targets:
            return [None] * len(targets)
        records = [
            _ClassMap(target["class_index"], target["score"], values)
            for target, values in zip(targets, maps, strict=True)
        ]
        options = LayoutOptions(dtype=self._npy_dtype)
        folder = self._out / NPY_FOLDER
        paths = write_layout(
            folder, self._npy_layout, image_id, records, options, fold_case=self._fold_case
        )
        return [path and f"{NPY_FOLDER}/{path}" for path in paths]


__all__ = ["EncodeWorker", "decode_map", "encode_map"]

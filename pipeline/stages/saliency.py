"""Pre-filter, saliency and fusion: rows with pixels into rows with maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import RunConfig
from pipeline.records import FAILED, OK, RESULT_SCHEMA
from sess_kernels import SESS, Backbone, ClassSaliency, PatchSaliency
from sess_kernels.errors import one_line
from sess_kernels.windows import count

Pixels = NDArray[np.uint8]


class SaliencyWorker:
    """Scores patches, filters them, and fuses the maps of the kept ones.

    Args:
        backbone: The loaded backbone.
        config: Settings of the run.
    """

    def __init__(self, backbone: Backbone, config: RunConfig) -> None:
        torch.set_num_threads(config.threads)
        self._sess = SESS(
            backbone,
            config.method,
            config,
            config.batch_size,
            config.precision,
            config.method_options,
        )
        self._threads = config.threads
        self._top_k = config.top_k
        self._keep_patches = config.keep_patches
        self.device = backbone.device.type
        self.batch_size = self._sess.batch_size

    def __call__(self, decoded: pa.Table) -> pa.Table:
        """Rows of ``DECODED_SCHEMA`` to rows of ``RESULT_SCHEMA`` with maps as float32 bytes."""
        torch.set_num_threads(self._threads)  # this may be another thread than the constructor's
        rows = decoded.to_pylist()
        good = [row for row in rows if row["error"] is None]
        images = [_pixels(row) for row in good]
        found = iter(self._explain(images, [row["labels"] for row in good]))
        results = [self._result(row, next(found) if row["error"] is None else None) for row in rows]
        return pa.Table.from_pylist(results, RESULT_SCHEMA)

    def _explain(
        self, images: list[Pixels], labels: list[list[int] | None]
    ) -> list[list[ClassSaliency] | Exception]:
        """Maps of each image; an image that fails does not take the others with it."""
        try:
            return list(self._sess(images, labels, self._top_k, self._keep_patches))
        except Exception as error:
            if len(images) == 1:
                return [error]
            pairs = zip(images, labels, strict=True)
            return [one for image, label in pairs for one in self._explain([image], [label])]

    def _result(
        self, row: dict[str, Any], found: list[ClassSaliency] | Exception | None
    ) -> dict[str, Any]:
        shared = {name: row[name] for name in ("image_id", "uri", "height", "width")}
        if isinstance(found, Exception) or found is None:
            error = row["error"] if found is None else one_line(found)
            return shared | {"status": FAILED, "error": error, "n_patches": 0, "targets": []}
        backbone = self._sess.backbone
        patches = count(row["height"], row["width"], self._sess.config, backbone.input_size)
        targets = [_target(one, backbone.class_names[one.class_index]) for one in found]
        if self._keep_patches:
            for target, one in zip(targets, found, strict=True):
                target["patches"] = [_patch(patch) for patch in one.patches]
        return shared | {"status": OK, "error": None, "n_patches": patches, "targets": targets}


def _pixels(row: dict[str, Any]) -> Pixels:
    return np.frombuffer(row["pixels"], np.uint8).reshape(row["height"], row["width"], 3)


def _target(one: ClassSaliency, class_name: str) -> dict[str, Any]:
    stored = _stored(one.map)
    return stored | {
        "class_index": one.class_index,
        "class_name": class_name,
        "score": one.score,
        "n_kept": one.n_kept,
        "map": {"bytes": stored["map"], "path": None},
    }


def _patch(patch: PatchSaliency) -> dict[str, Any]:
    names = ("scale", "scaled_size", "window", "box", "score")
    return {name: getattr(patch, name) for name in names} | _stored(patch.map.clamp(0, 1))


def _stored(map_: Tensor) -> dict[str, Any]:
    values = map_.cpu().numpy().astype("<f4", copy=False)
    return {"map": values.tobytes(), "map_dtype": "float32", "map_shape": list(values.shape)}

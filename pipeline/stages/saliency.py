"""Saliency and fusion, with or without the pre-filter before them: rows with pixels into maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from pipeline.records import FAILED, OK, RESULT_SCHEMA
from pipeline.stages.kernel import KernelStage, good_rows, pixels_of
from sess_kernels import ClassSaliency, PatchSaliency, PatchScores
from sess_kernels.errors import one_line
from sess_kernels.windows import count

_SHARED = ("row", "image_id", "uri", "height", "width")


class SaliencyWorker(KernelStage):
    """Fuses the maps of the kept patches; scores them itself where no pre-filter worker has."""

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Rows of ``DECODED_SCHEMA`` or ``SCORED_SCHEMA`` to those of ``RESULT_SCHEMA``.

        Maps are float32 bytes.
        """
        self.use_threads()
        good = good_rows(rows)
        explain = self._of_scored if "scores" in rows.column_names else self._of_decoded
        found = dict(zip(good, self.each(lambda some: explain(rows, some), good), strict=True))
        shared, errors = rows.select(_SHARED).to_pylist(), rows["error"].to_pylist()
        results = [self._result(shared[i], found.get(i, errors[i])) for i in range(rows.num_rows)]
        return pa.Table.from_pylist(results, RESULT_SCHEMA)

    def failed(self, rows: pa.Table, reason: str) -> pa.Table:
        """The rows with a reason in place of maps."""
        shared = rows.select(_SHARED).to_pylist()
        return pa.Table.from_pylist([self._result(row, reason) for row in shared], RESULT_SCHEMA)

    def _of_decoded(self, rows: pa.Table, some: Sequence[int]) -> list[list[ClassSaliency]]:
        labels = rows["labels"]
        given = [labels[i].as_py() for i in some]
        images, config = pixels_of(rows, some), self.config
        return self.sess(images, given, config.top_k, config.keep_patches)

    def _of_scored(self, rows: pa.Table, some: Sequence[int]) -> list[list[ClassSaliency]]:
        scores = [_scores(rows, i) for i in some]
        images = pixels_of(rows, some)
        return self.sess.explain_patches(images, scores, self.config.keep_patches)

    def _result(
        self, row: dict[str, Any], found: list[ClassSaliency] | Exception | str
    ) -> dict[str, Any]:
        if not isinstance(found, list):
            error = one_line(found) if isinstance(found, Exception) else found
            return row | {"status": FAILED, "error": error, "n_patches": 0, "targets": []}
        backbone = self.sess.backbone
        patches = count(row["height"], row["width"], self.sess.config, backbone.input_size)
        targets = [_target(one, backbone.class_names[one.class_index]) for one in found]
        if self.config.keep_patches:
            for target, one in zip(targets, found, strict=True):
                target["patches"] = [_patch(patch) for patch in one.patches]
        return row | {"status": OK, "error": None, "n_patches": patches, "targets": targets}


def _scores(rows: pa.Table, i: int) -> PatchScores:
    classes = tuple(rows["classes"][i].as_py())
    values = torch.from_numpy(rows["scores"][i].values.to_numpy().copy())
    return PatchScores(classes, values.reshape(len(classes), -1))


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
    return {name: getattr(patch, name) for name in names} | _stored(patch.map)


def _stored(map_: Tensor) -> dict[str, Any]:
    values = map_.cpu().numpy().astype("<f4", copy=False)
    return {"map": values.tobytes(), "map_dtype": "float32", "map_shape": list(values.shape)}

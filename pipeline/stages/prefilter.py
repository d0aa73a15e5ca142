"""Pre-filter: rows with pixels into rows with the scores of their patches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.records import DECODED_SCHEMA, SCORED_SCHEMA
from pipeline.stages.kernel import KernelStage, good_rows, pixels_of
from sess_kernels import PatchScores
from sess_kernels.errors import one_line


class PreFilterWorker(KernelStage):
    """Scores the patches of every image; what is kept of them follows from the scores."""

    def __call__(self, decoded: pa.Table) -> pa.Table:
        """Rows of ``DECODED_SCHEMA`` to rows of ``SCORED_SCHEMA``."""
        self.use_threads()
        good, labels = good_rows(decoded), decoded["labels"].to_pylist()

        def score(rows: Sequence[int]) -> list[PatchScores]:
            given = [labels[i] for i in rows]
            return self.sess.score_patches(pixels_of(decoded, rows), given, self.config.top_k)

        found = zip(good, self.each(score, good), strict=True)
        return _scored(
            decoded,
            {i: one_line(one) if isinstance(one, Exception) else one for i, one in found},
        )

    def failed(self, decoded: pa.Table, reason: str) -> pa.Table:
        """The rows with a reason in place of scores."""
        return _scored(decoded, dict.fromkeys(range(decoded.num_rows), reason))


def _scored(decoded: pa.Table, found: dict[int, PatchScores | str]) -> pa.Table:
    errors = decoded["error"].to_pylist()
    classes: list[list[int] | None] = [None] * decoded.num_rows
    scores: list[NDArray[np.float32] | None] = [None] * decoded.num_rows
    for i, one in found.items():
        if isinstance(one, str):
            errors[i] = one
        else:
            classes[i], scores[i] = list(one.classes), one.scores.numpy().ravel()
    columns = {name: decoded[name] for name in DECODED_SCHEMA.names}
    columns["error"] = pa.array(errors, pa.string())
    columns["classes"] = pa.array(classes, pa.list_(pa.int32()))
    columns["scores"] = pa.array(scores, pa.list_(pa.float32()))
    return pa.table(columns, schema=SCORED_SCHEMA)

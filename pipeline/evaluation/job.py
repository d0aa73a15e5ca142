"""What an evaluation is made of, as it is sent to its workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.config import RunConfig
from pipeline.evaluation.config import EvaluationConfig
from pipeline.files import Folder
from pipeline.stages import BackboneSpec
from pipeline.truth import Truth

PLAIN = ""
"""The variant of a run's maps as they are stored."""

Variants = Mapping[str, Mapping[str, Any]]
"""Settings of SESS by the name of each variant, where they differ from those of the run."""

STATISTICS = "statistics_"
"""What the names of the columns of statistics begin with."""


class Part(NamedTuple):
    """Rows of a file of ``OUT/maps``, by their places in it."""

    file: str
    rows: tuple[int, ...]


Unit = tuple[Part, ...]
"""What a worker judges at a time."""


@dataclass(frozen=True)
class EvaluationJob:
    """One evaluation.

    Attributes:
        out: Folder of the run.
        run: Settings of the run, with engine and placement as the evaluation has them.
        backbone: The backbone of the run.
        config: Settings.
        truth: What annotations say, if any are needed.
        class_names: Name of each class index.
        variants: Kinds of maps to judge.
    """

    out: Folder
    run: RunConfig
    backbone: BackboneSpec
    config: EvaluationConfig
    truth: Truth | None
    class_names: tuple[str, ...]
    variants: Variants


def schema_of(values: list[str], metrics: list[str]) -> pa.Schema:
    """Rows of judged maps: one for each image, class and variant.

    ``class_index`` is null in rows that judge all classes of an image together. A column of
    statistics holds what a metric adds up, see ``sess_kernels.metrics.MapMetric``; it is null where
    the metric did not judge.
    """
    fixed = [
        ("image_id", pa.string()),
        ("variant", pa.string()),
        ("class_index", pa.int32()),
        ("class_name", pa.string()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("note", pa.string()),  # what makes no sense in the annotations of the image
    ]
    figures = [(name, pa.float64()) for name in values]
    sums = [(f"{STATISTICS}{name}", pa.list_(pa.float64())) for name in metrics]
    return pa.schema(fixed + figures + sums)

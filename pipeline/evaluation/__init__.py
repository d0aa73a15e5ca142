"""Evaluation: the maps of a run judged by annotations and by the model, with intervals."""

from pipeline.evaluation.config import METRICS, EvaluationConfig
from pipeline.evaluation.evaluate import (
    difference,
    evaluate,
    failed_images,
    notes_of,
    read_evaluations,
)
from pipeline.evaluation.result import Evaluation

__all__ = [
    "METRICS",
    "Evaluation",
    "EvaluationConfig",
    "difference",
    "evaluate",
    "failed_images",
    "notes_of",
    "read_evaluations",
]

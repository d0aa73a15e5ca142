"""Judges of maps by true boxes."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from pipeline.evaluation.config import EvaluationConfig
from pipeline.evaluation.judge import Case, Judge, Judged, Judgement
from pipeline.truth import ClassTruth
from sess_kernels.metrics import CorLoc, Localisation, MaxBoxAcc
from sess_kernels.pseudo import pseudo_boxes


class _BoxJudge(Judge):
    """Judges maps by true boxes, those of crowds and difficult ones among them."""

    needs = ("boxes",)

    def judge(self, case: Case) -> Judged:
        """Judge every map whose class has boxes."""
        return [
            self.judge_map(case, index, map_, truth)
            if truth is not None and len(truth.boxes)
            else None
            for index, map_, truth in case.known()
        ]

    @abstractmethod
    def judge_map(
        self, case: Case, index: int, map_: Tensor, truth: ClassTruth
    ) -> Judgement | None:
        """Judge one map."""


class MaxBoxAccJudge(_BoxJudge):
    """MaxBoxAccV2."""

    name = "max_box_acc"

    def __init__(self, config: EvaluationConfig, n_classes: int) -> None:
        super().__init__(config, n_classes)
        self.metric = MaxBoxAcc(size=config.map_size)

    def judge_map(
        self, case: Case, index: int, map_: Tensor, truth: ClassTruth
    ) -> Judgement | None:
        """Judge one map."""
        return Judgement({}, self.metric.observe(map_, truth.boxes))


class LocalisationJudge(_BoxJudge):
    """GT-known and top-1 localisation."""

    name = "localisation"
    values = ("gt_known", "top1")
    needs_model = True
    needs_prediction = True

    def __init__(self, config: EvaluationConfig, n_classes: int) -> None:
        super().__init__(config, n_classes)
        self.metric = Localisation()

    def judge_map(
        self, case: Case, index: int, map_: Tensor, truth: ClassTruth
    ) -> Judgement | None:
        """Judge one map."""
        right = case.predicted == index
        statistics = self.metric.observe(map_, truth.boxes, right)
        values = {"gt_known": float(statistics[0]), "top1": float(right)}
        return Judgement(values, statistics)


class CorLocJudge(_BoxJudge):
    """CorLoc of the best pseudo-box."""

    name = "corloc"
    values = ("corloc",)

    def __init__(self, config: EvaluationConfig, n_classes: int) -> None:
        super().__init__(config, n_classes)
        self.metric = CorLoc(n_classes)

    def judge_map(
        self, case: Case, index: int, map_: Tensor, truth: ClassTruth
    ) -> Judgement | None:
        """Not if all true boxes are difficult."""
        if truth.difficult.all():
            return None
        boxes = pseudo_boxes(map_, self.config.boxes).boxes
        statistics = self.metric.observe(boxes, truth.boxes, truth.difficult)
        return Judgement({"corloc": float(statistics[0])}, statistics)

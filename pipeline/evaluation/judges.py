"""The judges by their names, and the one that asks the classifier."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pipeline.evaluation.box_judges import CorLocJudge, LocalisationJudge, MaxBoxAccJudge
from pipeline.evaluation.config import EvaluationConfig
from pipeline.evaluation.judge import Case, Judge, Judged, Judgement
from pipeline.evaluation.pixel_judges import MaskJudge, PointingJudge, PxAPJudge
from sess_kernels.metrics import InsertionDeletionMetric, MapQuery, insertion_deletion


class InsertionJudge(Judge):
    """Insertion and deletion; maps of all images fill device batches."""

    name = "insertion"
    values = ("insertion", "deletion", "overall")
    needs_model = True

    def __init__(self, config: EvaluationConfig, n_classes: int) -> None:
        super().__init__(config, n_classes)
        self.metric = InsertionDeletionMetric(settings=config.curves)

    def __call__(self, cases: Sequence[Case]) -> list[Judged]:
        """Judge many images together."""
        assert self.backbone is not None
        queries = [
            MapQuery(_pixels(case), map_, index)
            for case in cases
            for index, map_, _ in case.known()
        ]
        areas = insertion_deletion(
            self.backbone, queries, self.config.curves, batch_size=self.batch_size
        )
        found = iter(
            Judgement(one._asdict() | {"overall": one.overall}, self.metric.observe(one))
            for one in areas
        )
        return [[next(found) for _ in case.classes] for case in cases]

    def judge(self, case: Case) -> Judged:
        """Judge one image."""
        return self([case])[0]


JUDGES: dict[str, type[Judge]] = {
    "pointing": PointingJudge,
    "insertion": InsertionJudge,
    "max_box_acc": MaxBoxAccJudge,
    "pxap": PxAPJudge,
    "localisation": LocalisationJudge,
    "corloc": CorLocJudge,
    "miou": MaskJudge,
}
"""Judges by the name of their metric; ``time`` has none, the record of the run knows it."""


def judges_of(config: EvaluationConfig, n_classes: int) -> list[Judge]:
    """The judges that an evaluation asks.

    Example:
        >>> [one.name for one in judges_of(EvaluationConfig(metric=("miou", "time")), 20)]
        ['miou']
    """
    return [JUDGES[name](config, n_classes) for name in config.metrics if name in JUDGES]


def _pixels(case: Case) -> Tensor:
    assert case.pixels is not None
    return case.pixels

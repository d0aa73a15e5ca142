"""What a judge is: a metric with what it takes of maps, annotations and classifier."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from pipeline.evaluation.config import EvaluationConfig
from pipeline.truth import ClassTruth, ImageTruth, Truth
from sess_kernels import Backbone
from sess_kernels.errors import SessError
from sess_kernels.metrics import MapMetric


@dataclass(frozen=True, eq=False)
class Case:
    """The maps of an image, of one variant.

    Attributes:
        variant: Kind of maps.
        pixels: The photograph uint8 (3, H, W), if the classifier is needed.
        truth: What annotations say of it, if they know it.
        classes: Class index of each map.
        maps: Maps (K, H, W).
        predicted: The classifier's best class of the whole photograph, if it is needed.
    """

    variant: str
    pixels: Tensor | None
    truth: ImageTruth | None
    classes: tuple[int, ...]
    maps: Tensor
    predicted: int | None = None

    def known(self) -> Iterator[tuple[int, Tensor, ClassTruth | None]]:
        """Class index, map and truth of each class."""
        for index, map_ in zip(self.classes, self.maps, strict=True):
            yield index, map_, self.truth.classes.get(index) if self.truth else None


class Judgement(NamedTuple):
    """What a judge says of a map, or of all maps of an image.

    Attributes:
        values: What people want to see of it, by name.
        statistics: What the metric adds up: float64 (S,), or (C, S) of an image.
    """

    values: dict[str, float]
    statistics: Tensor


Judged = list[Judgement | None]
"""Of each map of a case, or of its image alone; None where there is nothing to judge by."""


class Judge(ABC):
    """A metric and what it needs.

    Args:
        config: Settings of the evaluation.
        n_classes: Classes of the run.

    Attributes:
        name: The metric, as users name it.
        metric: What adds up its statistics.
        backbone: The classifier where it is needed, once it is loaded.
        batch_size: Images of a forward.
    """

    name: ClassVar[str]
    values: ClassVar[tuple[str, ...]] = ()
    """Names of the values of a judgement."""
    needs_model: ClassVar[bool] = False
    needs_prediction: ClassVar[bool] = False
    is_of_images: ClassVar[bool] = False
    """Whether it judges the maps of an image together."""
    needs: ClassVar[tuple[str, ...]] = ()
    """What annotations must have, one of these: ``boxes``, ``masks``, ``regions``."""

    metric: MapMetric

    def __init__(self, config: EvaluationConfig, n_classes: int) -> None:
        self.config, self.n_classes = config, n_classes
        self.backbone: Backbone | None = None
        self.batch_size: int | None = None

    def check(self, truth: Truth | None) -> None:
        """Refuse to begin without what it needs.

        Raises:
            SessError: If there is no truth, or it has none of what is needed.
        """
        if not self.needs:
            return
        if truth is None:
            raise SessError(
                f"metric {self.name} needs to know what is true; give --truth KIND:PATH with "
                f"{' or '.join(self.needs)}"
            )
        if not any(getattr(truth, f"has_{need}") for need in self.needs):
            raise SessError(
                f"metric {self.name} needs {' or '.join(self.needs)} but {truth.name} has none; "
                "give another --truth, or leave the metric out"
            )

    def __call__(self, cases: Sequence[Case]) -> list[Judged]:
        """Judge many images."""
        return [self.judge(case) for case in cases]

    @abstractmethod
    def judge(self, case: Case) -> Judged:
        """Judge one image."""

"""Insertion and deletion: what the score does as the salient pixels come and go.

Petsiuk et al., "RISE", BMVC 2018, with the settings of Group-CAM (Zhang et al., 2021), which are
those of the paper (section 4.1). The frames of all maps fill device batches of one fixed size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sess_kernels.backbones import Backbone
from sess_kernels.errors import SessError
from sess_kernels.metrics.base import ClassIndices, MapMetric
from sess_kernels.metrics.curve_scores import scores_of
from sess_kernels.metrics.curves import CurveSettings, MapQuery


class InsertionDeletion(NamedTuple):
    """Areas under the two curves, and their difference.

    Attributes:
        insertion: Of the score as salient pixels are put into the blurred image.
        deletion: Of the score as they are blanked in the image.
    """

    insertion: float
    deletion: float

    @property
    def overall(self) -> float:
        """``insertion - deletion`` (paper section 4.1)."""
        return self.insertion - self.deletion


class ScoreCurves(NamedTuple):
    """What the score of a class does as pixels move.

    Attributes:
        moved: float64 (T,), share of the pixels that have moved, from 0 to 1.
        insertion: float64 (T,), scores as pixels of the image are put in.
        deletion: float64 (T,), scores as they are taken out.
    """

    moved: Tensor
    insertion: Tensor
    deletion: Tensor

    @property
    def areas(self) -> InsertionDeletion:
        """Areas under the trapezes between frames; every step counts as one, the last one too."""
        steps = len(self.moved) - 1
        both = torch.trapezoid(torch.stack([self.insertion, self.deletion])) / steps
        return InsertionDeletion(*both.tolist())


def insertion_deletion(
    backbone: Backbone,
    queries: Sequence[MapQuery],
    settings: CurveSettings | None = None,
    *,
    batch_size: int | None = None,
) -> list[InsertionDeletion]:
    """Judge maps, of any images and classes: the areas of their ``score_curves``.

    Args:
        backbone: The classifier.
        queries: The maps, each with its image and class.
        settings: Step, blur and baselines; the paper's if not given.
        batch_size: See ``score_curves``.

    Returns:
        One ``InsertionDeletion`` for each query.

    Raises:
        SessError: If scores are not finite, or the blur is too wide for the backbone.
        ValueError: If an image, a map or a class is none that the backbone can judge.

    Example:
        >>> from skimage.data import chelsea
        >>> from sess_kernels import SESSConfig, load_backbone, sess
        >>> saliency = sess(chelsea(), 285, config=SESSConfig(scales=1))
        >>> query = MapQuery(chelsea(), saliency, 285)
        >>> [cat] = insertion_deletion(load_backbone("lite0"), [query], CurveSettings(share=0.25))
        >>> cat.insertion > cat.deletion
        True
    """
    curves = score_curves(backbone, queries, settings, batch_size=batch_size)
    return [one.areas for one in curves]


def score_curves(
    backbone: Backbone,
    queries: Sequence[MapQuery],
    settings: CurveSettings | None = None,
    *,
    batch_size: int | None = None,
) -> list[ScoreCurves]:
    """The scores of the class of each map while its pixels are put in and taken out.

    Image and map are brought to the input size of the backbone. A step moves ``settings.share`` of
    the pixels, the most salient first and equal ones row by row; the last step moves what is left.

    Frames are made batch by batch on the device, and the last batch is filled up: the bits of a
    score depend on the size of the batches, not on which maps are judged together. Maps of the same
    image object share the frames at the ends of the curves. A backbone in bfloat16 is run in it,
    an approximation. On a CPU the process keeps up to 512 MiB of freed memory, see
    ``memory.keep_freed_memory``.

    Args:
        backbone: The classifier; see ``backbones.runtimes.with_runtime`` for faster ones.
        queries: The maps, each with its image and class.
        settings: Step, blur and baselines; the paper's if not given.
        batch_size: Frames of a device batch. If not given the only one that the classifier or its
            runtime takes; else 4 on a CPU and 128 on a GPU.

    Returns:
        One ``ScoreCurves`` for each query.

    Raises:
        SessError: If scores are not finite, or the blur is too wide for the backbone.
        ValueError: If an image, a map or a class is none that the backbone can judge.

    Example:
        >>> from sess_kernels import load_backbone
        >>> query = MapQuery(torch.zeros(3, 8, 8), torch.ones(8, 8), 285)
        >>> [flat] = score_curves(load_backbone("lite0"), [query], CurveSettings(share=0.5))
        >>> flat.moved.tolist(), tuple(flat.insertion.shape)
        ([0.0, 0.5, 1.0], (3,))
    """
    settings = settings or CurveSettings()
    n_pixels = backbone.input_size**2
    moved = torch.tensor(settings.moved(n_pixels)).double() / n_pixels
    return [ScoreCurves(moved, *one) for one in scores_of(backbone, queries, settings, batch_size)]


class InsertionDeletionMetric(MapMetric):
    """Mean insertion, deletion and overall score of maps.

    Figures are ``insertion``, ``deletion`` and ``overall``, their difference.

    Args:
        backbone: The classifier that ``update`` runs; not needed for sums of what others observed.
        settings: Step, blur and baselines; the paper's if not given.
        n_classes: Rows of the sums; 1 takes all classes together.
        batch_size: See ``score_curves``.
        options: Of ``torchmetrics.Metric``.

    Example:
        >>> metric = InsertionDeletionMetric()
        >>> metric.sums += metric.observe(InsertionDeletion(0.6, 0.1))
        >>> metric.sums += metric.observe(InsertionDeletion(0.4, 0.2))
        >>> metric.figures(metric.sums)["insertion"].item()
        0.5
    """

    def __init__(
        self,
        backbone: Backbone | None = None,
        settings: CurveSettings | None = None,
        *,
        n_classes: int = 1,
        batch_size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(n_classes, 3, **options)
        self.settings, self.batch_size = settings or CurveSettings(), batch_size
        self._given = (backbone,)  # in a tuple it is no submodule: its weights are not of the state

    def observe(self, areas: InsertionDeletion) -> Tensor:
        """Insertion, deletion and 1 for one map: float64 (3,)."""
        return torch.tensor([areas.insertion, areas.deletion, 1.0], dtype=torch.float64)

    def observe_batch(self, queries: Sequence[MapQuery]) -> Tensor:
        """The statistics float64 (N, 3) of N maps, by the classifier.

        Raises:
            SessError: If there is no classifier; see also ``score_curves``.
            ValueError: See ``score_curves``.
        """
        [backbone] = self._given
        if backbone is None:
            raise SessError("this metric has no classifier to run; give it a backbone")
        found = insertion_deletion(backbone, queries, self.settings, batch_size=self.batch_size)
        return torch.stack(list(map(self.observe, found))) if found else torch.zeros(0, 3).double()

    def update(  # type: ignore[override]  # maps come with image and class
        self, queries: Sequence[MapQuery], class_indices: ClassIndices = None
    ) -> None:
        """Judge maps and add them.

        Args:
            queries: The maps, each with its image and class.
            class_indices: Rows of the sums (N,); the classes of the maps if not given.

        Raises:
            SessError: See ``observe_batch``.
            ValueError: If a class is out of range; see also ``score_curves``.
        """
        if class_indices is None:
            class_indices = [query.class_index for query in queries]
        super().update(queries, class_indices=class_indices)

    def figures(self, sums: Tensor) -> dict[str, Tensor]:
        """Means (...) over all maps of sums (..., C, 3)."""
        return _means(sums.sum(-2))

    def class_figures(self, sums: Tensor) -> dict[str, Tensor]:
        """Means (..., C) over the maps of each class of sums (..., C, 3)."""
        return _means(sums)


def _means(sums: Tensor) -> dict[str, Tensor]:
    insertion, deletion = sums[..., 0] / sums[..., 2], sums[..., 1] / sums[..., 2]
    return {"insertion": insertion, "deletion": deletion, "overall": insertion - deletion}

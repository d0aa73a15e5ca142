"""Boxes judged by the true ones: CorLoc and average precision as PASCAL VOC has them.

Boxes are ``xyxy`` in pixels, half-open: the corners of VOC's files, which count from 1 and include
the last pixel, are (xmin - 1, ymin - 1, xmax, ymax).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

from sess_kernels.metrics.base import MapMetric
from sess_kernels.pseudo import BoxConfig, pseudo_boxes

IOU = 0.5
"""What counts as found."""
_CAM = BoxConfig(thresholds=(0.2,), components="largest", min_area=0.0)


class CorLoc(MapMetric):
    """The share of pairs of image and class whose best box meets a true one.

    Deselaers et al., IJCV 2012. Difficult boxes of PASCAL VOC do not count, and pairs without any
    other are not judged.

    Args:
        n_classes: Number of classes.
        iou: Least intersection over union.
        options: Of ``torchmetrics.Metric``.

    Example:
        >>> metric = CorLoc(n_classes=2)
        >>> true = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
        >>> metric.update([true, true, true + 4], [true] * 3, class_indices=[0, 0, 1])
        >>> {name: round(one.item(), 3) for name, one in metric.compute().items()}
        {'corloc': 0.667, 'corloc_of_classes': 0.5}
    """

    def __init__(self, n_classes: int, iou: float = IOU, **options: Any) -> None:
        super().__init__(n_classes, 2, **options)
        self.iou = iou

    def observe(self, boxes: Tensor, true: Tensor, difficult: Tensor | None = None) -> Tensor:
        """Whether the object is localised, and whether it is judged.

        Args:
            boxes: Found boxes (N, 4), best first (``pseudo_boxes``).
            true: True boxes (M, 4).
            difficult: bool (M,), true boxes that need not be found.
        """
        plain = true if difficult is None else true[~difficult]
        found = is_localised(boxes, plain.to(boxes.device), self.iou)
        return torch.tensor([found, len(plain) > 0], dtype=torch.float64)

    def figures(self, sums: Tensor) -> dict[str, Tensor]:
        """``corloc`` over all pairs, and ``corloc_of_classes``, the mean over classes."""
        hits, judged = sums.sum(-2).unbind(-1)
        of_classes = self.class_figures(sums)["corloc"].nanmean(-1)
        return {"corloc": hits / judged, "corloc_of_classes": of_classes}

    def class_figures(self, sums: Tensor) -> dict[str, Tensor]:
        """``corloc`` of each class."""
        return {"corloc": sums[..., 0] / sums[..., 1]}


class Localisation(MapMetric):
    """GT-known and top-1 localisation at one threshold, and top-1 accuracy.

    An object is localised if the box of the map meets a true one; top-1 localisation asks for the
    class as well, that the classifier's best one be the true one (ILSVRC; Zhou et al., CVPR 2016).

    Args:
        boxes: How the box is drawn; by default around the largest component above 0.2 of the
            largest value. Of several boxes the best one counts.
        iou: Least intersection over union.
        options: Of ``torchmetrics.Metric``.

    Example:
        >>> metric = Localisation()
        >>> saliency = torch.zeros(2, 20, 20)
        >>> saliency[:, 4:10, 4:14] = 1
        >>> metric.update(saliency, torch.tensor([[[4.0, 4.0, 14.0, 10.0]]] * 2), [True, False])
        >>> {name: one.item() for name, one in metric.compute().items()}
        {'gt_known': 1.0, 'top1_localisation': 0.5, 'top1': 0.5}
    """

    def __init__(self, boxes: BoxConfig = _CAM, iou: float = IOU, **options: Any) -> None:
        super().__init__(1, 5, **options)
        self.boxes, self.iou = boxes, iou

    def observe(self, saliency: Tensor, true: Tensor, right: bool | None = None) -> Tensor:
        """Whether the object is localised and its class is right.

        Args:
            saliency: Map (H, W) of the true class.
            true: True boxes (M, 4), ``xyxy`` in pixels of the map; without any nothing is judged.
            right: Whether the classifier's best class is the true one; None if nobody knows.

        Returns:
            float64 (5,): localised, judged; with the class right, the class right, known.
        """
        if not len(true):
            return torch.zeros(5, dtype=torch.float64)
        found = pseudo_boxes(saliency, self.boxes).boxes
        hit = is_localised(found, true.to(found.device), self.iou)
        counts = [hit, True, hit and bool(right), bool(right), right is not None]
        return torch.tensor(counts, dtype=torch.float64)

    def figures(self, sums: Tensor) -> dict[str, Tensor]:
        """``gt_known``, ``top1_localisation`` and ``top1``."""
        return self.class_figures(sums.sum(-2))

    def class_figures(self, sums: Tensor) -> dict[str, Tensor]:
        """The same for each class."""
        hits, judged, both, right, known = sums.unbind(-1)
        return {"gt_known": hits / judged, "top1_localisation": both / known, "top1": right / known}


class JudgedBoxes(NamedTuple):
    """The boxes that were found in one image, judged.

    Attributes:
        scores: float (N,), best first.
        right: bool (N,), those that found a true box nobody had found before.
        wrong: bool (N,), those that found none. What found a difficult box is neither.
        n_true: True boxes that are not difficult.
    """

    scores: Tensor
    right: Tensor
    wrong: Tensor
    n_true: int


def is_localised(boxes: Tensor, true: Tensor, iou: float = IOU) -> bool:
    """Whether the best box meets any true one; CorLoc is the mean over images and their classes.

    Deselaers et al., IJCV 2012. Leave out difficult boxes, and images without any other.

    Args:
        boxes: Found boxes (N, 4), best first; without any nothing is localised.
        true: True boxes (M, 4).
        iou: Least intersection over union.

    Example:
        >>> true = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
        >>> is_localised(torch.tensor([[0.0, 0.0, 4.0, 2.0]]), true)
        True
        >>> is_localised(torch.tensor([[0.0, 0.0, 4.0, 1.0], [0.0, 0.0, 4.0, 4.0]]), true)
        False
    """
    if not len(boxes) or not len(true):
        return False
    return bool(box_iou(boxes[:1].double(), true.double()).max() >= iou)


def judge_boxes(
    boxes: Tensor, scores: Tensor, true: Tensor, difficult: Tensor | None = None, iou: float = IOU
) -> JudgedBoxes:
    """Judge the boxes of a class in one image (PASCAL VOC development kit, section 3.4).

    Best first, a box is held against the true box that it meets best. If they meet well enough, it
    is right the first time that box is found and wrong afterwards.

    Args:
        boxes: Found boxes (N, 4).
        scores: Their scores (N,).
        true: True boxes (M, 4).
        difficult: bool (M,), true boxes that need not be found.
        iou: Least intersection over union.

    Example:
        >>> true = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
        >>> judge_boxes(true.repeat(2, 1), torch.tensor([0.4, 0.9]), true).right
        tensor([ True, False])
    """
    difficult = torch.zeros(len(true)).bool() if difficult is None else difficult
    order = scores.argsort(descending=True, stable=True)
    right, wrong = torch.zeros(len(boxes)).bool(), torch.ones(len(boxes)).bool()
    if len(true):
        overlaps, nearest = box_iou(boxes[order].double(), true.double()).max(1)
        found: set[int] = set()
        for place, (overlap, which) in enumerate(
            zip(overlaps.tolist(), nearest.tolist(), strict=True)
        ):
            if overlap < iou:
                continue
            right[place] = which not in found and not difficult[which]
            wrong[place] = which in found and not difficult[which]
            found.add(which)
    return JudgedBoxes(scores[order], right, wrong, int((~difficult).sum()))


def average_precision(judged: Sequence[JudgedBoxes]) -> float:
    """Area under the precision-recall curve of one class (VOC since 2010: at every recall).

    Args:
        judged: The boxes of every image.

    Returns:
        0 to 1; NaN if there is nothing to find.

    Example:
        >>> true = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
        >>> found = torch.tensor([[8.0, 8.0, 9.0, 9.0], [0.0, 0.0, 4.0, 4.0]])
        >>> average_precision([judge_boxes(found, torch.tensor([0.9, 0.4]), true)])
        0.5
    """
    n_true = sum(one.n_true for one in judged)
    if not n_true:
        return float("nan")
    order = torch.cat([one.scores for one in judged]).argsort(descending=True, stable=True)
    right = torch.cat([one.right for one in judged])[order].double()
    wrong = torch.cat([one.wrong for one in judged])[order].double()
    precision = right.cumsum(0) / (right + wrong).cumsum(0).clamp(min=1)
    # a precision counts for every recall below: what it falls to on the way does not matter
    highest = precision.flip(0).cummax(0).values.flip(0) if len(precision) else precision
    return float((highest * right).sum() / n_true)

"""Boxes judged by the true ones: CorLoc and average precision as PASCAL VOC has them.

Boxes are ``xyxy`` in pixels, half-open: the corners of VOC's files, which count from 1 and include
the last pixel, are (xmin - 1, ymin - 1, xmax, ymax).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

IOU = 0.5
"""What counts as found."""


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

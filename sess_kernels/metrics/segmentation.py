"""Masks judged by mean intersection over union, counted over all images together."""

from __future__ import annotations

import torch
from torch import Tensor

IGNORED = 255


def confusion(predicted: Tensor, truth: Tensor, n_classes: int, ignored: int = IGNORED) -> Tensor:
    """How many pixels of each class were called what; add those of many images up.

    Args:
        predicted: Classes (H, W), integers from 0 to ``n_classes - 1``.
        truth: Classes (H, W); pixels with the value ``ignored`` are left out.
        n_classes: Number of classes, background included.
        ignored: Value of pixels of the truth that nobody judges.

    Returns:
        int64 (n_classes, n_classes): a row for each true class, a column for each predicted one.

    Raises:
        ValueError: If the sizes differ or a class is out of range.

    Example:
        >>> confusion(torch.tensor([[0, 1, 1]]), torch.tensor([[0, 0, 255]]), 2)
        tensor([[1, 1],
                [0, 0]])
    """
    if predicted.shape != truth.shape:
        raise ValueError(
            f"Expected masks of one size but got {tuple(predicted.shape)} and {tuple(truth.shape)}"
        )
    judged = truth != ignored
    called, true = predicted[judged].long(), truth[judged].long()
    for name, classes in (("predicted", called), ("true", true)):
        if classes.numel() and not 0 <= classes.min() <= classes.max() < n_classes:
            raise ValueError(
                f"Expected {name} classes from 0 to {n_classes - 1} but got "
                f"{int(classes.min())} to {int(classes.max())}"
            )
    return torch.bincount(true * n_classes + called, minlength=n_classes**2).view(n_classes, -1)


def class_ious(counts: Tensor) -> Tensor:
    """Intersection over union of each class, of ``confusion``; NaN for a class that is nowhere.

    Args:
        counts: Pixels (..., C, C) by true and by predicted class.

    Returns:
        float64 (..., C).

    Example:
        >>> class_ious(torch.tensor([[3, 1], [0, 4]]))
        tensor([0.7500, 0.8000], dtype=torch.float64)
    """
    counts = counts.double()
    both = counts.diagonal(dim1=-2, dim2=-1)
    return both / (counts.sum(-1) + counts.sum(-2) - both)


def mean_iou(counts: Tensor) -> Tensor:
    """Mean of ``class_ious`` over the classes that are there.

    Args:
        counts: Pixels (..., C, C) by true and by predicted class.

    Returns:
        float64 (...).

    Example:
        >>> mean_iou(torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]])).item()
        0.775
    """
    return class_ious(counts).nanmean(-1)

"""Masks judged by mean intersection over union, counted over all images together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sess_kernels.metrics.base import MapMetric

IGNORED = 255
BACKGROUNDS = tuple(step / 20 for step in range(1, 20))
"""Values of the background that are tried."""
_LEAST = 1e-12  # a map of zeros stays one


class PseudoMaskIoU(MapMetric):
    """Mean intersection over union of pseudo-masks, at the background that is best for all.

    A pixel is of the class whose map is largest there, and background unless its value exceeds a
    threshold (``pseudo_mask``). Pixels are counted over all images together.

    Args:
        n_classes: Number of classes, background included, as ``confusion`` has it.
        thresholds: Values of the background that are tried, in [0, 1].
        normalize: Divide each map by its largest value.
        options: Of ``torchmetrics.Metric``.

    Raises:
        ValueError: If there is no threshold, or one is out of range.

    Example:
        >>> metric = PseudoMaskIoU(n_classes=2, thresholds=(0.2, 0.4))
        >>> metric.update([torch.tensor([[[0.1, 0.3, 1.0]]])], [[0]], [torch.tensor([[0, 0, 1]])])
        >>> {name: round(one.item(), 2) for name, one in metric.compute().items()}
        {'miou': 1.0, 'background': 0.4}
    """

    def __init__(
        self,
        n_classes: int,
        thresholds: Sequence[float] = BACKGROUNDS,
        normalize: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(n_classes, 2 * len(thresholds), **options)
        if not thresholds or not all(0 <= one <= 1 for one in thresholds):
            raise ValueError(f"Expected thresholds in [0, 1] but got {tuple(thresholds)}")
        self.thresholds, self.normalize = tuple(sorted(thresholds)), normalize

    def observe(self, maps: Tensor, classes: Sequence[int], truth: Tensor) -> Tensor:
        """Pixels of the masks of one image.

        Args:
            maps: Maps (K, H, W) in [0, 1], also of no class.
            classes: Their classes, from 0 without the background.
            truth: True mask (H, W): 0 background, class + 1, 255 ignored.

        Returns:
            float64 (C, 2 T), background first: of each class the intersection of mask and truth at
            every threshold, then the union.

        Raises:
            ValueError: If the sizes differ or a class is out of range.
        """
        if self.normalize and len(maps):
            maps = maps / maps.amax((-2, -1), keepdim=True).clamp(min=_LEAST)
        return mask_overlaps(maps, classes, truth, self.thresholds, self.n_classes).flatten(1).cpu()

    def figures(self, sums: Tensor) -> dict[str, Tensor]:
        """``miou``, the background counted as a class, and ``background``, where it is best."""
        means = self._ious(sums).nanmean(-2)
        best = means.nan_to_num(-1).max(-1)
        judged = ~means.isnan().all(-1)
        backgrounds = torch.tensor(self.thresholds).to(sums)[best.indices]
        nothing = sums.new_tensor(torch.nan)
        return {
            "miou": torch.where(judged, best.values, nothing),
            "background": torch.where(judged, backgrounds, nothing),
        }

    def class_figures(self, sums: Tensor) -> dict[str, Tensor]:
        """``iou`` of each class, background first, where the mean of all is best."""
        ious = self._ious(sums)
        best = ious.nanmean(-2).nan_to_num(-1).argmax(-1)[..., None, None]
        return {"iou": ious.gather(-1, best.expand(*ious.shape[:-1], 1))[..., 0]}

    def _ious(self, sums: Tensor) -> Tensor:
        """(..., C, T); NaN for a class that is nowhere."""
        both, either = torch.unflatten(sums, -1, (2, len(self.thresholds))).unbind(-2)
        return both / either


def mask_overlaps(
    maps: Tensor,
    classes: Sequence[int],
    truth: Tensor,
    thresholds: Sequence[float],
    n_classes: int,
) -> Tensor:
    """Where the masks of an image and the truth overlap, at many thresholds of the background.

    Args:
        maps: Maps (K, H, W), also of no class.
        classes: Their classes (K,), from 0 without the background.
        truth: True mask (H, W): 0 background, class + 1, 255 ignored.
        thresholds: T values of the background, ascending.
        n_classes: Number of classes C, background included.

    Returns:
        float64 (C, 2, T) on the device of the maps: pixels of the intersection and of the union.

    Raises:
        ValueError: If the sizes differ or a class is out of range.

    Example:
        >>> maps = torch.tensor([[[0.1, 0.3, 1.0]]])
        >>> mask_overlaps(maps, [0], torch.tensor([[0, 0, 1]]), [0.2, 0.4], 2).tolist()
        [[[1.0, 2.0], [2.0, 2.0]], [[1.0, 1.0], [2.0, 1.0]]]
    """
    _check(maps, classes, truth, n_classes)
    truth, edges = truth.to(maps.device).long(), torch.tensor(thresholds).to(maps)
    judged, steps = truth != IGNORED, len(edges) + 1
    labels = passed = torch.zeros_like(truth)
    if len(maps):
        best, which = maps.max(0)
        labels = torch.tensor(classes, device=maps.device).add(1)[which]
        passed = torch.bucketize(best, edges)  # how many thresholds a pixel exceeds
    true, labels, passed = truth[judged], labels[judged], passed[judged]
    right = labels == true
    called = _above(_counts(labels, passed, (n_classes, steps)))
    both = _above(_counts(labels[right], passed[right], (n_classes, steps)))
    # the background is what exceeds no threshold
    below = _counts(true, passed, (n_classes, steps)).cumsum(-1)[:, :-1]
    called[0], both[0] = below.sum(0), below[0]
    n_true = true.bincount(minlength=n_classes)[:, None]
    return torch.stack([both, called + n_true - both], 1).double()


def _counts(classes: Tensor, passed: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixels (C, T + 1) of each class that exceed so many thresholds."""
    return (classes * size[1] + passed).bincount(minlength=size[0] * size[1]).view(size)


def _above(counts: Tensor) -> Tensor:
    """Pixels (C, T) of each class that exceed each threshold."""
    return counts.flip(-1).cumsum(-1).flip(-1)[:, 1:].contiguous()


def _check(maps: Tensor, classes: Sequence[int], truth: Tensor, n_classes: int) -> None:
    if maps.ndim != 3 or len(maps) != len(classes) or maps.shape[1:] != truth.shape:
        raise ValueError(
            f"Expected maps (K, H, W) for {len(classes)} classes and a mask (H, W) but got "
            f"{tuple(maps.shape)} and {tuple(truth.shape)}"
        )
    true = truth[truth != IGNORED]
    if true.numel() and not 0 <= true.min() <= true.max() < n_classes:
        raise ValueError(
            f"Expected true classes from 0 to {n_classes - 1} but got {int(true.min())} to "
            f"{int(true.max())}"
        )
    if any(not 0 <= one < n_classes - 1 for one in classes):
        raise ValueError(
            f"Expected classes from 0 to {n_classes - 2} besides the background but got "
            f"{list(classes)}"
        )


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

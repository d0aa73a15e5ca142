"""Pixels that maps mark, judged by masks as in WSOL evaluation (Choe et al., CVPR 2020)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sess_kernels.metrics.base import MapMetric
from sess_kernels.metrics.boxes import THRESHOLDS, resized
from sess_kernels.metrics.segmentation import IGNORED
from sess_kernels.opencv import opencv

_EDGES = torch.from_numpy(np.append(THRESHOLDS, 1.0))  # the last bin is that of 1 alone
_BINS = len(_EDGES)


class PxAP(MapMetric):
    """Area under the precision-recall curve of the pixels of all maps.

    That of clovaai/wsolevaluation, which has fractions of 1 in percent: thresholds in steps of
    0.001, and the precision of each counts for the recall that it adds.

    Args:
        size: Side in pixels to which maps and masks are brought before; wsolevaluation has 224.
        options: Of ``torchmetrics.Metric``.

    Example:
        >>> metric = PxAP()
        >>> metric.update(torch.tensor([[[0.9, 0.5, 0.1]]]), torch.tensor([[[1, 0, 1]]]))
        >>> round(metric.compute()["pxap"].item(), 3)  # 1 and 2/3, each for half of the recall
        0.833
    """

    def __init__(self, size: int | None = None, **options: Any) -> None:
        super().__init__(1, 2 * _BINS, **options)
        self.size = size

    def observe(self, saliency: Tensor, truth: Tensor) -> Tensor:
        """Histograms of the map's values.

        Args:
            saliency: Map (H, W) in [0, 1].
            truth: Mask (H, W), bool or integers: 1 the class, 0 something else, 255 ignored.

        Returns:
            float64 (2 B,): of true pixels and of false ones.
        """
        if self.size is not None:
            saliency, truth = _resized(saliency, truth, self.size)
        return pixel_histograms(saliency, truth).flatten().cpu()

    def figures(self, sums: Tensor) -> dict[str, Tensor]:
        """``pxap``."""
        return {"pxap": pixel_precision(torch.unflatten(sums.sum(-2), -1, (2, _BINS)))}

    def class_figures(self, sums: Tensor) -> dict[str, Tensor]:
        """``pxap`` of each class."""
        return {"pxap": pixel_precision(torch.unflatten(sums, -1, (2, _BINS)))}


def pixel_histograms(saliency: Tensor, truth: Tensor) -> Tensor:
    """How often true and false pixels have which values.

    Args:
        saliency: Map (H, W) in [0, 1], or maps (N, H, W) together.
        truth: Masks of the same shape, bool or integers: 1 the class, 0 something else, 255
            ignored.

    Returns:
        float64 (2, B), of true pixels and of false ones, on the device of the map; a bin for each
        of ``THRESHOLDS`` and the values from it to the next one, and one for 1.

    Raises:
        ValueError: If the shapes differ, or a value is none of a map or of a mask.

    Example:
        >>> found = pixel_histograms(torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[0, 255, 1]]))
        >>> found.nonzero().tolist()
        [[0, 1000], [1, 0]]
    """
    if saliency.shape != truth.shape:
        raise ValueError(
            f"Expected maps and masks of one size but got {tuple(saliency.shape)} and "
            f"{tuple(truth.shape)}"
        )
    values = saliency.double()
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise ValueError("Expected maps with values in [0, 1] but got others")
    truth = truth.to(values.device).long()
    if not bool(((truth == 0) | (truth == 1) | (truth == IGNORED)).all()):
        raise ValueError(f"Expected masks of 0, 1 and {IGNORED} but got other values")
    judged = truth != IGNORED
    bins = torch.bucketize(values[judged], _EDGES.to(values.device), right=True) - 1
    rows = bins + (1 - truth[judged]) * _BINS
    return torch.bincount(rows, minlength=2 * _BINS).view(2, _BINS).double()


def pixel_precision(histograms: Tensor) -> Tensor:
    """PxAP of the values of true and false pixels.

    Args:
        histograms: ``pixel_histograms`` of all maps added up (..., 2, B).

    Returns:
        float64 (...), in [0, 1]; NaN if no pixel is true.

    Example:
        >>> pixel_precision(torch.tensor([[0.0, 1, 1], [1, 1, 0]])).item()  # 1 / 1, then 2 / 3
        0.8333333333333333
    """
    added = histograms.double().flip(-1)  # from the highest threshold down
    true, false = added.cumsum(-1).unbind(-2)
    precision = true / (true + false)
    # nothing is added to the recall where nothing was marked yet
    area = (precision.nan_to_num(0) * added[..., 0, :]).sum(-1)
    return area / true[..., -1]


def _resized(saliency: Tensor, truth: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Map and mask brought to a square; a pixel of the mask is the nearest one."""
    cv2 = opencv()
    pixels = truth.cpu().to(torch.uint8).numpy()
    mask = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_NEAREST)
    return resized(saliency, torch.zeros(0, 4), size)[0], torch.from_numpy(mask)

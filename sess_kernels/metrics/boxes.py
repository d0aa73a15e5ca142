"""Boxes around what a map marks, judged as in WSOL evaluation (Choe et al., CVPR 2020)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sess_kernels.opencv import opencv

THRESHOLDS = np.arange(0, 1, 0.001)
"""Thresholds of a curve, shares of a map's largest value."""
IOUS = (0.3, 0.5, 0.7)
"""What counts as found in MaxBoxAccV2, whose figure is the mean over these."""


def best_ious(saliency: Tensor, boxes: Tensor) -> Tensor:
    """How well the boxes around what a map marks meet the true ones, at every threshold.

    A map in 256 steps is cut at each threshold; around every contour lies a box, and the one that
    meets any true box best counts (MaxBoxAccV2: all contours, those of holes too).

    Args:
        saliency: Map (H, W) in [0, 1].
        boxes: True boxes (M, 4), ``xyxy`` in pixels of the map.

    Returns:
        Largest intersection over union (T,) at each of ``THRESHOLDS``, float32.

    Raises:
        SessError: If OpenCV is missing.

    Example:
        >>> saliency = torch.zeros(20, 20)
        >>> saliency[4:10, 4:14] = 1
        >>> found = best_ious(saliency, torch.tensor([[4.0, 4.0, 14.0, 10.0]]))
        >>> tuple(found.shape), found[0].item(), found[-1].item()
        ((1000,), 1.0, 1.0)
    """
    steps = (saliency.cpu().double() * 255).to(torch.uint8).numpy()
    levels, places = np.unique((THRESHOLDS * steps.max()).astype(int), return_inverse=True)
    true = boxes.cpu().double().numpy()
    return torch.tensor([_best(steps, int(level), true) for level in levels])[places]


def max_box_accuracy(ious: Tensor) -> float:
    """MaxBoxAccV2: the share of images whose object is found, at the best threshold for all.

    Args:
        ious: ``best_ious`` of every image (N, T).

    Returns:
        Mean over ``IOUS`` of the largest share that a threshold reaches.

    Example:
        >>> max_box_accuracy(torch.tensor([[0.8, 0.2], [0.4, 0.6]]))  # 1, 1/2 and 1/2
        0.6666666666666666
    """
    shares = torch.stack([(ious >= least).double().mean(0).max() for least in IOUS])
    return float(shares.mean())


def _best(steps: NDArray[np.uint8], level: int, true: NDArray[np.float64]) -> float:
    found = _contour_boxes(steps > level)
    if not len(found):
        found = np.zeros((1, 4))
    # the last pixel of a box belongs to it, and a true box's limits are rounded down to pixels
    true = np.floor(true)
    least = np.maximum(found[:, None, :2], true[None, :, :2])
    most = np.minimum(found[:, None, 2:], true[None, :, 2:])
    inter = (most - least + 1).clip(min=0).prod(-1)
    areas = [(one[:, 2:] - one[:, :2] + 1).prod(-1) for one in (found, true)]
    return float((inter / (areas[0][:, None] + areas[1][None] - inter)).max())


def _contour_boxes(marked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Boxes (n, 4) around all contours, with limits as the evaluation has them."""
    cv2 = opencv()
    height, width = marked.shape
    contours, _ = cv2.findContours(
        marked.view(np.uint8), mode=cv2.RETR_LIST, method=cv2.CHAIN_APPROX_SIMPLE
    )
    rects = np.array([cv2.boundingRect(one) for one in contours], float).reshape(-1, 4)
    stop = rects[:, :2] + rects[:, 2:]
    return np.hstack([rects[:, :2], np.minimum(stop, [width - 1, height - 1])])

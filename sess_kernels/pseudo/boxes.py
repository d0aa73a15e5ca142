"""Boxes around what a map marks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms

from sess_kernels.opencv import opencv
from sess_kernels.pseudo.config import BoxConfig

_BINS = 256


class Boxes(NamedTuple):
    """Boxes of a map, best first.

    Attributes:
        boxes: float32 (N, 4), ``xyxy`` in pixels of the map; a box of one pixel is 1 wide.
        scores: float32 (N,) in [0, 1].
    """

    boxes: Tensor
    scores: Tensor


def pseudo_boxes(saliency: Tensor, config: BoxConfig | None = None) -> Boxes:
    """A box around each connected component of what a map marks, at one or several thresholds.

    Components have 8 neighbours, and are found on the CPU, wherever the map is. A box's score is
    the mean of the map in its component times the square root of the component's share of the
    image: of boxes around one object at several thresholds neither the smallest nor the largest is
    best. A map of zeros has no boxes.

    Args:
        saliency: Map (H, W) in [0, 1].
        config: Thresholds, components and what is left out.

    Returns:
        ``Boxes``, best first, on the device of the map.

    Raises:
        ValueError: If the map is no (H, W).
        SessError: If OpenCV is missing.

    Example:
        >>> saliency = torch.zeros(20, 20)
        >>> saliency[4:10, 4:14] = 1
        >>> saliency[15:17, 2:5] = 0.5
        >>> pseudo_boxes(saliency)
        Boxes(boxes=tensor([[ 4.,  4., 14., 10.],
                [ 2., 15.,  5., 17.]]), scores=tensor([0.3873, 0.0612]))
    """
    if saliency.ndim != 2:
        raise ValueError(f"Expected a map (H, W) but got {tuple(saliency.shape)}")
    config = config or BoxConfig()
    values = saliency.detach().float().cpu()
    found = [_components(values, level, config) for level in _levels(values, config)]
    boxes = torch.cat([torch.zeros(0, 4), *(one.boxes for one in found)])
    scores = torch.cat([torch.zeros(0), *(one.scores for one in found)])
    best = nms(boxes, scores, config.nms_iou)
    return Boxes(boxes[best].to(saliency.device), scores[best].to(saliency.device))


def otsu(values: Tensor) -> float:
    """Otsu's threshold of a map in 256 steps (IEEE Trans. SMC 9(1), 1979).

    It divides the histogram so that the variance between both parts is largest.

    Args:
        values: Map (H, W) in [0, 1].

    Returns:
        The last of the 256 steps, 0 to 1, that is below it; the map's own value if it has only one.

    Example:
        >>> otsu(torch.tensor([[0.0, 0.2, 0.8, 1.0]]))
        0.2
    """
    steps = _steps(values).numpy()
    counts = np.bincount(steps.ravel(), minlength=_BINS).astype(float)
    levels = np.arange(_BINS)
    below, total = counts.cumsum(), counts.sum()
    mass = (counts * levels).cumsum()
    with np.errstate(invalid="ignore"):  # 0/0 where all pixels lie on one side
        apart = (mass * total - mass[-1] * below) ** 2 / (below * (total - below))
    between = np.nan_to_num(apart)
    level = int(between.argmax()) if between.any() else int(steps.max(initial=0))
    return level / (_BINS - 1)


def _levels(values: Tensor, config: BoxConfig) -> list[float]:
    if config.threshold_mode == "absolute":
        return list(config.thresholds)
    if config.threshold_mode == "otsu":
        return [otsu(values)]
    most = float(values.max()) if values.numel() else 0.0
    return [share * most for share in config.thresholds]


def _components(values: Tensor, level: float, config: BoxConfig) -> Boxes:
    marked = values.numpy() > level
    if config.threshold_mode == "otsu":
        marked = _steps(values).numpy() > round(level * (_BINS - 1))
    if not marked.any():
        return Boxes(torch.zeros(0, 4), torch.zeros(0))
    n, labels, stats, _ = opencv().connectedComponentsWithStats(
        marked.view(np.uint8), connectivity=8
    )
    left, top, width, height, area = stats[1:].T  # the first one is what is not marked
    chosen = np.flatnonzero(area >= max(1, config.min_area * marked.size))
    if config.components == "largest":
        chosen = chosen[area[chosen].argsort(kind="stable")[::-1][:1]]
    corners = np.stack([left, top, left + width, top + height], 1)[chosen]
    sums = np.bincount(labels.ravel(), values.numpy().ravel().astype(np.float64), n)[1:]
    scores = (sums / area * np.sqrt(area / marked.size))[chosen].clip(0, 1)
    return Boxes(torch.from_numpy(corners).float(), torch.from_numpy(scores).float())


def _steps(values: Tensor) -> Tensor:
    return (values * (_BINS - 1)).round().to(torch.uint8)

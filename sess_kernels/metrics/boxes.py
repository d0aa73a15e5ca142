"""Boxes around what a map marks, judged as in WSOL evaluation (Choe et al., CVPR 2020)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sess_kernels.errors import SessError, unknown
from sess_kernels.metrics.base import MapMetric
from sess_kernels.opencv import opencv

THRESHOLDS = np.arange(0, 1, 0.001)
"""Thresholds of a curve, shares of a map's largest value."""
IOUS = (0.3, 0.5, 0.7)
"""What counts as found in MaxBoxAccV2, whose figure is the mean over these."""
CONTOURS = ("all", "largest")
"""Contours whose boxes are judged: all in MaxBoxAccV2, the one of the largest area before."""


class MaxBoxAcc(MapMetric):
    """The share of maps whose object is found, at the threshold that is best for all maps.

    With ``contours="all"`` it is MaxBoxAccV2: a threshold for each of three ``IOUS``, and the mean.
    With ``contours="largest"`` it is MaxBoxAcc, at an IoU of 0.5. Both are those of
    clovaai/wsolevaluation, which has fractions of 1 in percent.

    Args:
        contours: One of ``CONTOURS``.
        size: Side in pixels to which maps and boxes are brought before; wsolevaluation has 224.
        options: Of ``torchmetrics.Metric``.

    Raises:
        SessError: If such contours are not known.

    Example:
        >>> metric = MaxBoxAcc()
        >>> saliency = torch.zeros(1, 20, 20)
        >>> saliency[0, 4:10, 4:14] = 1
        >>> metric.update(saliency, [torch.tensor([[4.0, 4.0, 14.0, 16.0]])])
        >>> [f"{name} {share:.3f}" for name, share in metric.compute().items()]
        ['max_box_acc_v2 0.667', 'max_box_acc_30 1.000', 'max_box_acc_50 1.000', \
'max_box_acc_70 0.000']
    """

    def __init__(self, contours: str = "all", size: int | None = None, **options: Any) -> None:
        super().__init__(1, len(IOUS) * len(THRESHOLDS) + 1, **options)
        if contours not in CONTOURS:
            raise SessError(unknown("contours", contours, CONTOURS))
        self.contours, self.size = contours, size

    def observe(self, saliency: Tensor, boxes: Tensor) -> Tensor:
        """At which thresholds the map finds its object.

        Args:
            saliency: Map (H, W) in [0, 1].
            boxes: True boxes (M, 4), ``xyxy`` in pixels of the map; without any nothing is judged.

        Returns:
            float64 (S,): 1 where it is found, for every IoU and threshold, and 1 for the map.
        """
        if not len(boxes):
            return torch.zeros(self.n_statistics, dtype=torch.float64)
        if self.size is not None:
            saliency, boxes = resized(saliency, boxes, self.size)
        ious = _best_ious(saliency, boxes, self.contours)
        found = ious >= torch.tensor(IOUS, dtype=torch.float64)[:, None]
        return torch.cat([found.flatten(), torch.ones(1)]).double()

    def figures(self, sums: Tensor) -> dict[str, Tensor]:
        """``max_box_acc_v2`` and its three parts ``max_box_acc_30``, ...; or ``max_box_acc``."""
        shares = _shares(sums.sum(-2))
        return self._named(shares.amax(-1))

    def class_figures(self, sums: Tensor) -> dict[str, Tensor]:
        """The same for each class, at the thresholds that are best for all of them together."""
        best = _shares(sums.sum(-2)).nan_to_num(0).argmax(-1)[..., None, :, None]
        shares = _shares(sums)
        return self._named(shares.gather(-1, best.expand(*shares.shape[:-1], 1))[..., 0])

    def _named(self, shares: Tensor) -> dict[str, Tensor]:
        if self.contours == "largest":
            return {"max_box_acc": shares[..., IOUS.index(0.5)]}
        parts = {f"max_box_acc_{iou * 100:.0f}": shares[..., n] for n, iou in enumerate(IOUS)}
        return {"max_box_acc_v2": shares.mean(-1), **parts}


def _shares(sums: Tensor) -> Tensor:
    """The share of maps (..., 3, T) that are found for each IoU and threshold."""
    found, maps = sums[..., :-1], sums[..., -1:]
    return torch.unflatten(found / maps, -1, (len(IOUS), len(THRESHOLDS)))


def best_ious(saliency: Tensor, boxes: Tensor, contours: str = "all") -> Tensor:
    """How well the boxes around what a map marks meet the true ones, at every threshold.

    A map in 256 steps is cut at each threshold; around every contour lies a box, and the one that
    meets any true box best counts (MaxBoxAccV2: all contours, those of holes too).

    Args:
        saliency: Map (H, W) in [0, 1].
        boxes: True boxes (M, 4), ``xyxy`` in pixels of the map.
        contours: ``all``, or ``largest`` for the box of the contour of the largest area alone.

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
    return _best_ious(saliency, boxes, contours).float()


def resized(saliency: Tensor, boxes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """A map and its boxes brought to a square, as ``sess export --to wsol --size`` brings maps.

    Args:
        saliency: Map (H, W).
        boxes: Boxes (M, 4), ``xyxy`` in pixels of the map.
        size: Side of the square in pixels.

    Returns:
        The map (size, size), float64 from 0 to 1, and the boxes, float64.

    Example:
        >>> _, boxes = resized(torch.rand(20, 10), torch.tensor([[1.0, 2.0, 4.0, 3.0]]), 224)
        >>> boxes
        tensor([[22.4000, 22.4000, 89.6000, 33.6000]], dtype=torch.float64)
    """
    height, width = saliency.shape
    values = F.interpolate(
        saliency.double()[None, None], (size, size), mode="bilinear", antialias=True
    )[0, 0]
    values = values - values.min()
    most = values.max()
    scaled = boxes.double() * size / boxes.new_tensor([width, height, width, height]).double()
    return values / torch.where(most > 0, most, 1), scaled


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


def _best_ious(saliency: Tensor, boxes: Tensor, contours: str) -> Tensor:
    steps = (saliency.cpu().double() * 255).to(torch.uint8).numpy()
    levels, places = np.unique((THRESHOLDS * steps.max()).astype(int), return_inverse=True)
    found = [_contour_boxes(steps > level, contours) for level in levels]
    rects = np.array([one for of_level in found for one in of_level], float)
    starts = np.cumsum([0, *map(len, found[:-1])])
    ious = _ious(rects, boxes.cpu().double().numpy(), steps.shape)
    return torch.from_numpy(np.maximum.reduceat(ious.max(1), starts)[places])


def _ious(
    rects: NDArray[np.float64], true: NDArray[np.float64], size: tuple[int, ...]
) -> NDArray[np.float64]:
    """IoUs (n, m) of rectangles (n, 4), ``xywh``, and true boxes (m, 4), as the evaluation has it.

    The last pixel of a box belongs to it, ends of found boxes stay inside, and a true box's limits
    are rounded down to pixels.
    """
    stop = np.minimum(rects[:, :2] + rects[:, 2:], [size[1] - 1, size[0] - 1])
    found, true = np.hstack([rects[:, :2], stop]), np.floor(true)
    least = np.maximum(found[:, None, :2], true[None, :, :2])
    most = np.minimum(found[:, None, 2:], true[None, :, 2:])
    inter = (most - least + 1).clip(min=0).prod(-1)
    areas = [(one[:, 2:] - one[:, :2] + 1).prod(-1) for one in (found, true)]
    ious: NDArray[np.float64] = inter / (areas[0][:, None] + areas[1][None] - inter)
    return ious


def _contour_boxes(marked: NDArray[np.bool_], which: str) -> list[tuple[int, int, int, int]]:
    """Boxes ``xywh`` around contours; an empty one where nothing is marked."""
    cv2 = opencv()
    # of equal areas the first one counts, and this mode has the evaluation's order
    contours, _ = cv2.findContours(
        marked.view(np.uint8), mode=cv2.RETR_TREE, method=cv2.CHAIN_APPROX_SIMPLE
    )
    if which == "largest" and contours:
        contours = [max(contours, key=cv2.contourArea)]
    return [cv2.boundingRect(one) for one in contours] or [(0, 0, 0, 0)]

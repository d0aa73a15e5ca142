"""Where a saliency map points: the pointing game, and how much of the map lies in boxes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sess_kernels.metrics.base import MapMetric

_SMALL = 0.25  # share of the image below which objects are small


class PointingGame(MapMetric):
    """The share of maps that point at their class, a mean over classes.

    Zhang et al., IJCV 2018, as TorchRay plays it, with boxes or with masks of instances. The same
    game is played on the difficult ones among the maps alone, see ``is_difficult``.

    A class without a map that was judged is left out of the mean; TorchRay has it as 0.

    Args:
        n_classes: Number of classes.
        tolerance: See ``pointing_hits``; TorchRay has 15.
        options: Of ``torchmetrics.Metric``.

    Example:
        >>> game = PointingGame(n_classes=2)
        >>> saliency = torch.eye(4)[None].repeat(2, 1, 1)  # the upper left corner comes first
        >>> boxes = [torch.tensor([[0, 0, 2, 2]]), torch.tensor([[2, 2, 4, 4]])]
        >>> game.update(saliency, boxes, class_indices=[0, 1])
        >>> {name: round(one.item(), 2) for name, one in game.compute().items()}
        {'pointing': 0.5, 'pointing_difficult': nan}
    """

    def __init__(self, n_classes: int, tolerance: float = 0.0, **options: Any) -> None:
        super().__init__(n_classes, 4, **options)
        self.tolerance = _fitting(tolerance)

    def observe(self, saliency: Tensor, region: Tensor | None, difficult: bool = False) -> Tensor:
        """Hits and what was judged, of all and of difficult maps.

        Args:
            saliency: Map (H, W), of the size of the photograph.
            region: Where the class is: boxes (M, 4) or a mask ``bool (H, W)``. Without any box the
                map is not judged; nor should it be if all boxes are difficult ones of PASCAL VOC
                (give None), but if one is not, the region is that of all.
            difficult: Whether the map belongs to the difficult ones.

        Returns:
            float64 (4,): hits, judged, hits of difficult ones, judged difficult ones.
        """
        if region is None or not len(region):
            return torch.zeros(4, dtype=torch.float64)
        return _counted(torch.tensor([pointing_hit(saliency, region, self.tolerance)]), difficult)[
            0
        ]

    def observe_batch(self, *batch: Any, **options: Any) -> Tensor:
        """As that of ``MapMetric``; maps (N, H, W) with masks ``bool (N, H, W)`` in one go."""
        saliency, regions, *rest = batch
        stacked = all(isinstance(one, Tensor) and one.ndim == 3 for one in (saliency, regions))
        if not stacked or regions.dtype != torch.bool or saliency.shape != regions.shape:
            return super().observe_batch(*batch, **options)
        difficult = rest[0] if rest else options.get("difficult", False)
        return _counted(pointing_hits(saliency, regions, self.tolerance).cpu(), difficult)

    def figures(self, sums: Tensor) -> dict[str, Tensor]:
        """``pointing`` and ``pointing_difficult``, means over the classes that were judged."""
        return {name: one.nanmean(-1) for name, one in self.class_figures(sums).items()}

    def class_figures(self, sums: Tensor) -> dict[str, Tensor]:
        """``pointing`` and ``pointing_difficult`` of each class."""
        hits, judged, hard_hits, hard_judged = sums.unbind(-1)
        return {"pointing": hits / judged, "pointing_difficult": hard_hits / hard_judged}


def is_difficult(region_area: float, image_area: float, n_other_classes: int) -> bool:
    """Whether a class of an image is of the difficult ones (Zhang et al., IJCV 2018).

    It is small, all its objects together below a quarter of the image, and not alone. Of PASCAL VOC
    the area is that of boxes, of COCO that of the objects' outlines.

    Args:
        region_area: Area of the objects of the class, in pixels.
        image_area: Area of the image, in pixels.
        n_other_classes: How many other classes are in the image.

    Example:
        >>> is_difficult(20, 100, 1), is_difficult(25, 100, 1), is_difficult(20, 100, 0)
        (True, False, False)
    """
    return region_area < _SMALL * image_area and n_other_classes > 0


def pointing_hits(saliency: Tensor, regions: Tensor, tolerance: float = 0.0) -> Tensor:
    """Whether the largest values of maps lie where their classes are.

    Args:
        saliency: Maps (N, H, W); of several largest values the first one counts, row by row.
        regions: Where the classes are, ``bool (N, H, W)``.
        tolerance: A point that is closer than so many pixels to one of the region is a hit too.

    Returns:
        bool (N,), on the device of the maps.

    Raises:
        ValueError: If the shapes differ or the tolerance is negative.

    Example:
        >>> saliency = torch.zeros(2, 1, 9)
        >>> saliency[:, 0, 4] = 1
        >>> regions = torch.arange(9).eq(torch.tensor([[6], [7]]))[:, None]
        >>> pointing_hits(saliency, regions, tolerance=3)
        tensor([ True, False])
    """
    if saliency.ndim != 3 or saliency.shape != regions.shape:
        raise ValueError(
            f"Expected maps and regions (N, H, W) but got {tuple(saliency.shape)} and "
            f"{tuple(regions.shape)}"
        )
    height, width = saliency.shape[1:]
    point = saliency.flatten(1).argmax(1)
    near_rows, near_columns = _near(_fitting(tolerance), saliency.device)
    rows = (point // width)[:, None] + near_rows
    columns = (point % width)[:, None] + near_columns
    within = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    places = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    return (regions.flatten(1).gather(1, places) & within).any(1)


def pointing_hit(saliency: Tensor, region: Tensor, tolerance: float = 0.0) -> bool:
    """Whether the largest value of a map lies where its class is (Zhang et al., IJCV 2018).

    Args:
        saliency: Map (H, W); of several largest values the first one counts, row by row.
        region: A mask ``bool (H, W)``, or boxes (M, 4), ``xyxy`` in pixels of the map; a pixel
            belongs to a box if its centre does.
        tolerance: A point that is closer than so many pixels to one of the region is a hit too;
            TorchRay has 15.

    Example:
        >>> saliency = torch.zeros(10, 10)
        >>> saliency[2, 7] = 1
        >>> box = torch.tensor([[0.0, 0.0, 6.0, 6.0]])
        >>> pointing_hit(saliency, box), pointing_hit(saliency, box, tolerance=3)
        (False, True)
    """
    if region.dtype != torch.bool:
        region = pixels_inside(region, tuple(saliency.shape))
    return bool(pointing_hits(saliency[None], region.to(saliency.device)[None], tolerance))


def mass_inside(saliency: Tensor, boxes: Tensor) -> float:
    """The share of a map's sum that lies in the boxes; NaN for a map without any.

    The energy-based pointing game of Score-CAM (Wang et al., CVPRW 2020).

    Args:
        saliency: Map (H, W), nowhere negative.
        boxes: Boxes (M, 4), ``xyxy`` in pixels of the map.

    Example:
        >>> mass_inside(torch.ones(4, 4), torch.tensor([[0.0, 0.0, 2.0, 4.0]]))
        0.5
    """
    inside = pixels_inside(boxes, tuple(saliency.shape))
    saliency = saliency.double()
    return float(saliency[inside].sum() / saliency.sum())


def pixels_inside(boxes: Tensor, size: tuple[int, ...]) -> Tensor:
    """The pixels ``bool (H, W)`` whose centres lie in any of the boxes.

    Args:
        boxes: Boxes (M, 4), ``xyxy`` in pixels.
        size: Height and width.

    Example:
        >>> pixels_inside(torch.tensor([[0.0, 0.0, 1.0, 2.0]]), (2, 2))
        tensor([[ True, False],
                [ True, False]])
    """
    height, width = size
    rows = torch.arange(height, device=boxes.device) + 0.5
    columns = torch.arange(width, device=boxes.device) + 0.5
    left, top, right, bottom = boxes.double()[..., None].unbind(1)
    in_rows = (rows >= top) & (rows < bottom)
    in_columns = (columns >= left) & (columns < right)
    return (in_rows[:, :, None] & in_columns[:, None, :]).any(0)


def _near(tolerance: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows and columns (K,) of the pixels that are close to one, itself among them."""
    reach = math.ceil(tolerance)
    steps = torch.arange(-reach, reach + 1, device=device)
    distances = steps[:, None] ** 2 + steps**2
    rows, columns = ((distances == 0) | (distances < tolerance**2)).nonzero(as_tuple=True)
    return rows - reach, columns - reach


def _fitting(tolerance: float) -> float:
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"Expected a tolerance of at least 0 pixels but got {tolerance:g}")
    return tolerance


def _counted(hits: Tensor, difficult: Any) -> Tensor:
    """Statistics (N, 4) of maps that are judged."""
    hard = torch.as_tensor(difficult).cpu().expand(hits.shape)
    counts = [hits, torch.ones_like(hits), hits & hard, hard]
    return torch.stack(counts, 1).double()

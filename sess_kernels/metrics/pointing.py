"""Where a saliency map points: the pointing game, and how much of the map lies in boxes."""

from __future__ import annotations

import torch
from torch import Tensor


def pointing_hit(saliency: Tensor, boxes: Tensor, tolerance: float = 0.0) -> bool:
    """Whether the largest value of a map lies in one of the boxes (Zhang et al., IJCV 2018).

    Args:
        saliency: Map (H, W); of several largest values the first one counts, row by row.
        boxes: Boxes (M, 4), ``xyxy`` in pixels of the map; a pixel belongs to a box if its centre
            does.
        tolerance: A point that is closer than so many pixels to a pixel of a box is a hit too;
            TorchRay has 15.

    Example:
        >>> saliency = torch.zeros(10, 10)
        >>> saliency[2, 7] = 1
        >>> box = torch.tensor([[0.0, 0.0, 6.0, 6.0]])
        >>> pointing_hit(saliency, box), pointing_hit(saliency, box, tolerance=3)
        (False, True)
    """
    row, column = divmod(int(saliency.argmax()), saliency.shape[1])
    inside = pixels_inside(boxes, tuple(saliency.shape))
    rows, columns = inside.nonzero(as_tuple=True)
    distances = (rows - row) ** 2 + (columns - column) ** 2
    return bool(((distances == 0) | (distances < tolerance**2)).any())


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

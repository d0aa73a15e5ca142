"""Pixel-adaptive mask refinement (PAMR): maps move to where the colours change.

Araslanov and Roth, "Single-Stage Semantic Segmentation from Image Labels", CVPR 2020, section 3.3.
An iteration makes every value the weighted mean of its neighbours',

    m_i <- sum_j alpha_ij m_j,  alpha_i = softmax_j(mean over colours of -|x_i - x_j| / (s std_i)),

where j runs over the eight neighbours at each of several distances (dilations) and std_i is the
standard deviation of a colour over all of them and i itself. The weights depend on the image
alone: they are computed once, whatever the number of maps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

DILATIONS = (1, 2, 4, 8, 12, 24)
SIGMA = 0.1
"""What the standard deviation is multiplied with; the authors' published figures have 0.1."""
_LEAST = 1e-8  # where all neighbours have one colour


@torch.no_grad()
def pamr(
    image: Tensor,
    maps: Tensor,
    iterations: int = 10,
    dilations: Sequence[int] = DILATIONS,
    sigma: float = SIGMA,
) -> Tensor:
    """Refine the maps of an image by its colours.

    An edge pixel is repeated outside the image. Every value stays between the smallest and the
    largest of its map. The weights take ``8 * len(dilations)`` floats a pixel, 36 MB at 375x500.

    Args:
        image: Image (3, H, W), uint8 or float; its range makes no difference.
        maps: Maps (K, H, W), float, on the device of the image.
        iterations: How often; 0 leaves the maps as they are.
        dilations: Distances of the neighbours in pixels.
        sigma: The smaller, the less passes over an edge.

    Returns:
        Refined maps float32 (K, H, W).

    Raises:
        ValueError: If image and maps differ in size, or a setting is out of range.

    Example:
        >>> image = torch.zeros(3, 8, 8)
        >>> image[:, :, 4:] = 1
        >>> map_ = torch.zeros(1, 8, 8)
        >>> map_[0, :, 3:] = 1  # one column too many
        >>> refined = pamr(image, map_, dilations=(1, 2))
        >>> refined[0, 4, 3].item() < 0.5 < refined[0, 4, 4].item()
        True
    """
    if maps.ndim != 3 or image.shape != (3, *maps.shape[1:]):
        raise ValueError(
            f"Expected an image (3, H, W) and maps (K, H, W) of its size but got "
            f"{tuple(image.shape)} and {tuple(maps.shape)}"
        )
    if iterations < 0 or sigma <= 0 or not dilations or min(dilations) < 1:
        raise ValueError(
            "Expected iterations of at least 0, dilations of at least 1 and sigma above 0 but got "
            f"{iterations}, {tuple(dilations)} and {sigma}"
        )
    values = maps.float()
    if not iterations or not values.numel():
        return values
    weights = _weights(image.float(), dilations, sigma)
    for _ in range(iterations):
        found = torch.zeros_like(values)
        for weight, shifted in zip(weights, _neighbours(values, dilations), strict=True):
            found.addcmul_(shifted, weight)
        values = found
    return values


def _weights(image: Tensor, dilations: Sequence[int], sigma: float) -> Tensor:
    """Softmax weights (8 * len(dilations), H, W): each neighbour's share in the mean."""
    scale = (sigma * _deviation(image, dilations) + _LEAST).reciprocal_().div_(len(image))
    weights = image.new_empty(8 * len(dilations), *image.shape[1:])
    for weight, shifted in zip(weights, _neighbours(image, dilations), strict=True):
        torch.sum((shifted - image).abs_().mul_(scale), 0, out=weight)
    # softmax in place: beside the weights of a large image there may be no room for others
    least = weights.amin(0)
    for weight in weights:
        torch.sub(least, weight, out=weight).exp_()
    return weights.div_(weights.sum(0))


def _deviation(image: Tensor, dilations: Sequence[int]) -> Tensor:
    """Standard deviation (3, H, W) over a pixel and its neighbours at all distances."""
    total, squares = torch.zeros_like(image), torch.zeros_like(image)
    for shifted in _neighbours(image, dilations):
        away = shifted - image  # moments about the pixel itself: no cancellation on flat ground
        total.add_(away)
        squares.addcmul_(away, away)
    count = 9 * len(dilations)  # the pixel counts once for each distance
    return squares.addcmul_(total, total, value=-1 / count).div_(count - 1).clamp_(min=0).sqrt_()


def _neighbours(planes: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """The eight neighbours of every pixel at each distance, each as planes (K, H, W)."""
    height, width = planes.shape[1:]
    edge = max(dilations)
    padded = F.pad(planes[None], [edge] * 4, mode="replicate")[0]
    for step in dilations:
        for down in (-step, 0, step):
            for right in (-step, 0, step):
                if down or right:
                    top, left = edge + down, edge + right
                    yield padded[:, top : top + height, left : left + width]

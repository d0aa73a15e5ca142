"""Multi-scale resize and crop: an image into patches, paper section 3 and Algorithm 1 lines 1-8."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.interpolation import columns_first, enlarge
from sess_kernels.windows import Grid


def resize(image: Tensor, height: int, width: int, interpolation: str = "bilinear") -> Tensor:
    """Resize (N, C, H, W) to (N, C, height, width), anti-aliased where it shrinks.

    Example:
        >>> resize(torch.arange(4.0).view(1, 1, 2, 2), 1, 1).item()
        1.5
    """
    if image.shape[2:] == (height, width):
        return image
    # an enlarging bilinear filter is the same with and without anti-aliasing; without is faster
    antialias = not (_enlarges(image, height, width) and interpolation == "bilinear")
    return F.interpolate(
        image, (height, width), mode=interpolation, align_corners=False, antialias=antialias
    )


def extract(
    image: Tensor, grids: Sequence[Grid], window: int, backbone: Backbone
) -> Iterator[Tensor]:
    """Yield the patches of one image, scale by scale and row by row.

    Args:
        image: ``uint8`` or float (3, H, W) with values 0 to 255.
        grids: Its windows, from ``windows.grids``.
        window: Side of the windows in pixels.
        backbone: Gives the normalisation, the interpolation and the input size.

    Yields:
        One normalised patch (3, S, S) each, S the input size of the backbone.

    Example:
        >>> from sess_kernels import SESSConfig, load_backbone
        >>> from sess_kernels.windows import grids
        >>> image = torch.zeros(3, 300, 451, dtype=torch.uint8)
        >>> windows = grids(300, 451, SESSConfig(scales=2))
        >>> patches = list(extract(image, windows, 224, load_backbone("lite0")))
        >>> len(patches), tuple(patches[0].shape)
        (6, (3, 224, 224))
    """
    for grid, scaled in zip(grids, _scaled(image, grids, backbone), strict=True):
        for top in grid.tops:
            for left in grid.lefts:
                patch = scaled[:, :, top : top + window, left : left + window]
                yield resize(patch, backbone.input_size, backbone.input_size)[0]


def _scaled(image: Tensor, grids: Sequence[Grid], backbone: Backbone) -> Iterator[Tensor]:
    """The normalised image (1, 3, height, width) at every scale."""
    how = backbone.preprocessing.interpolation
    on_cpu = image.device.type == "cpu"
    image = backbone.normalize(image)[None].contiguous(memory_format=torch.channels_last)
    for grid in grids:
        if on_cpu and how == "bilinear" and _enlarges(image, grid.height, grid.width):
            image = columns_first(image)  # from the second scale on it is so already
            yield enlarge(image, grid.height, grid.width)
        else:
            scaled = resize(image, grid.height, grid.width, how)
            yield _within_pixel_range(scaled, backbone) if how == "bicubic" else scaled


def _enlarges(image: Tensor, height: int, width: int) -> bool:
    return height >= image.shape[2] and width >= image.shape[3]


def _within_pixel_range(scaled: Tensor, backbone: Backbone) -> Tensor:
    """Cut what bicubic interpolation overshoots, as an 8-bit image would."""
    ends = torch.tensor([0.0, 255.0], device=scaled.device)
    low, high = backbone.normalize(ends[:, None, None, None].expand(2, 3, 1, 1))
    return scaled.clamp(low, high)

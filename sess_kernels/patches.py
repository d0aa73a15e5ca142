"""Multi-scale resize and crop: an image into patches, paper section 3 and Algorithm 1 lines 1-8."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.interpolation import columns_first, enlarge
from sess_kernels.windows import Grid, windows_of


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


class Scales:
    """One image at the scales that are asked for, normalised.

    Args:
        image: ``uint8`` or float (3, H, W) with values 0 to 255.
        backbone: Gives the normalisation and the interpolation.

    Example:
        >>> from sess_kernels import load_backbone
        >>> from sess_kernels.windows import Grid
        >>> scales = Scales(torch.zeros(3, 300, 451), load_backbone("lite0"))
        >>> scales.at(Grid(224, 336, (0,), (0, 112))).shape
        torch.Size([1, 3, 224, 336])
    """

    def __init__(self, image: Tensor, backbone: Backbone) -> None:
        self._backbone = backbone
        self._on_cpu = image.device.type == "cpu"
        normalized = backbone.normalize(image)[None]
        self._image = normalized.contiguous(memory_format=torch.channels_last)

    def at(self, grid: Grid) -> Tensor:
        """The image (1, 3, height, width) at the scale of a grid."""
        how, size = self._backbone.preprocessing.interpolation, (grid.height, grid.width)
        if self._on_cpu and how == "bilinear" and _enlarges(self._image, *size):
            self._image = columns_first(self._image)  # the second time it is so already
            return enlarge(self._image, *size)
        scaled = resize(self._image, *size, how)
        return _within_pixel_range(scaled, self._backbone) if how == "bicubic" else scaled


class Patches:
    """The patches of one image, scale by scale and row by row, each cut when it is asked for.

    A scaled image stays until another scale is asked for, or for good.

    Args:
        image: ``uint8`` or float (3, H, W) with values 0 to 255.
        grids: Its windows, from ``windows.grids``.
        window: Side of the windows in pixels.
        backbone: Gives the normalisation, the interpolation and the input size.
        keep: Let every scaled image stay, for patches in any order.

    Example:
        >>> from sess_kernels import SESSConfig, load_backbone
        >>> from sess_kernels.windows import grids
        >>> image = torch.zeros(3, 300, 451, dtype=torch.uint8)
        >>> windows = grids(300, 451, SESSConfig(scales=2))
        >>> patches = Patches(image, windows, 224, load_backbone("lite0"))
        >>> len(patches), tuple(patches[5].shape)
        (6, (3, 224, 224))
    """

    def __init__(
        self,
        image: Tensor,
        grids: Sequence[Grid],
        window: int,
        backbone: Backbone,
        *,
        keep: bool = False,
    ) -> None:
        self._windows = windows_of(grids)
        self._window, self._side = window, backbone.input_size
        self._scales, self._keep = Scales(image, backbone), keep
        self._scaled: dict[Grid, Tensor] = {}

    def __len__(self) -> int:
        return len(self._windows)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Tensor:
        """The normalised patch (3, S, S), S the input size of the backbone."""
        grid, top, left = self._windows[index]
        if grid not in self._scaled:
            if not self._keep:
                self._scaled.clear()
            self._scaled[grid] = self._scales.at(grid)
        patch = self._scaled[grid][:, :, top : top + self._window, left : left + self._window]
        return resize(patch, self._side, self._side)[0]


def _enlarges(image: Tensor, height: int, width: int) -> bool:
    return height >= image.shape[2] and width >= image.shape[3]


def _within_pixel_range(scaled: Tensor, backbone: Backbone) -> Tensor:
    """Cut what bicubic interpolation overshoots, as an 8-bit image would."""
    ends = torch.tensor([0.0, 255.0], device=scaled.device)
    low, high = backbone.normalize(ends[:, None, None, None].expand(2, 3, 1, 1))
    return scaled.clamp(low, high)

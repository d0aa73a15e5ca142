"""Ways to refine the maps of an image by its colours, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from sess_kernels.pseudo.crf import dense_crf
from sess_kernels.pseudo.pamr import pamr

if TYPE_CHECKING:
    from sess_kernels.pseudo.config import MaskConfig

Refinement = Callable[[Tensor, Tensor, "MaskConfig"], Tensor]
"""Of an image (3, H, W), 0 to 255, and its maps (K, H, W), both float32."""


def refine(image: Tensor, maps: Tensor, config: MaskConfig) -> Tensor:
    """Refine the maps of an image at no more than ``config.refine_side`` pixels a side.

    Args:
        image: Image (3, H, W), 0 to 255.
        maps: Maps (K, H, W) in [0, 1].
        config: Which refinement, and how.

    Returns:
        Refined maps float32 (K, H, W).

    Example:
        >>> import torch
        >>> from sess_kernels.pseudo import MaskConfig
        >>> maps = torch.rand(2, 40, 30)
        >>> refine(torch.zeros(3, 40, 30), maps, MaskConfig(refine="pamr", refine_side=20)).shape
        torch.Size([2, 40, 30])
    """
    full = (maps.shape[1], maps.shape[2])
    share = min(1.0, config.refine_side / max(full))
    size = (max(1, round(full[0] * share)), max(1, round(full[1] * share)))
    found = REFINEMENTS[config.refine](
        _resized(image.float(), size), _resized(maps.float(), size), config
    )
    return _resized(found, full)


def _pamr(image: Tensor, maps: Tensor, config: MaskConfig) -> Tensor:
    return pamr(image, maps, config.iterations, config.dilations)


def _crf(image: Tensor, maps: Tensor, config: MaskConfig) -> Tensor:
    return dense_crf(image, maps, config.background, config.iterations)


def _resized(planes: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(planes.shape[1:]) == size:
        return planes
    return F.interpolate(planes[None], size, mode="bilinear", align_corners=False, antialias=True)[
        0
    ]


REFINEMENTS: dict[str, Refinement] = {"pamr": _pamr, "crf": _crf}

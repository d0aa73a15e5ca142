"""One image, one call."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sess_kernels.backbones import Backbone
from sess_kernels.config import SESSConfig
from sess_kernels.images import Image
from sess_kernels.saliency import BaseMethod, Explain
from sess_kernels.sess import SESS


def sess(
    image: Image,
    class_index: int | Sequence[int],
    backbone: Backbone | str = "lite0",
    method: str | BaseMethod | Explain = "gradcam",
    config: SESSConfig | None = None,
) -> Tensor:
    """SESS maps of one image.

    Args:
        image: ``uint8 (H, W, 3)`` RGB array, or tensor (3, H, W) with values 0 to 255.
        class_index: One class or several; several share the forwards.
        backbone: A ``Backbone`` or its name.
        method: Base saliency method, by name or as an object.
        config: Settings of SESS.

    Returns:
        (H, W) for one class, (K, H, W) for several; values in [0, 1].

    Raises:
        SessError: If a name is unknown.
        ValueError: If the image has another shape or a class is out of range.

    Example:
        >>> from skimage.data import chelsea
        >>> map_ = sess(chelsea(), 285, config=SESSConfig(scales=2))
        >>> tuple(map_.shape), map_.max().item()
        ((300, 451), 1.0)
    """
    classes = [class_index] if isinstance(class_index, int) else list(class_index)
    [found] = SESS(backbone, method, config)([image], [classes])
    maps = torch.stack([one.map for one in found])
    return maps[0] if isinstance(class_index, int) else maps

"""Anything that turns images and classes into maps, as a base method.

SESS is applied to the input and output of a saliency method alone (paper section 3), so that any
will do: captum, pytorch-grad-cam, torchcam, or a function of one's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.errors import SessError
from sess_kernels.saliency.base import ImageMethod

Explain = Callable[[Tensor, Tensor], Any]
"""``(images (N, 3, S, S), class_index (N,)) -> maps (N, h, w)``, tensors or NumPy arrays."""


@dataclass(frozen=True)
class BlackBoxMethod(ImageMethod):
    """A callable as a base method; it is called with device batches of one fixed size.

    Attributes:
        explain: ``(images (N, 3, S, S), class_index (N,)) -> maps (N, h, w)``; the images are
            normalised as the backbone wants them.
        title: What to call it where people read.

    Example:
        >>> method = BlackBoxMethod(lambda images, class_index: images.abs().amax(1))
        >>> method.maps(None, torch.zeros(2, 3, 8, 8), torch.tensor([1, 2])).shape
        torch.Size([2, 8, 8])
    """

    needs_network: ClassVar[bool] = False

    explain: Explain
    title: str = "black box"

    def maps(self, backbone: Backbone | None, images: Tensor, class_index: Tensor) -> Tensor:
        """Maps (N, h, w) of the callable.

        Raises:
            SessError: If they have another shape.
        """
        with torch.enable_grad():
            found = self.explain(images.clone(), class_index)  # it may write into its own copy
        maps = torch.as_tensor(found).detach().to(images)
        if maps.ndim != 3 or len(maps) != len(images):
            raise SessError(
                f"{self.title} must give maps ({len(images)}, h, w) for {len(images)} images "
                f"but gave {tuple(maps.shape)}"
            )
        return maps

r"""Gradient, also called vanilla saliency (Simonyan et al., ICLR workshop 2014).

With the target y of class c and the image x of several channels k,

    L_c(i, j) = max over k of  | d y_c / d x_k(i, j) |
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.saliency.base import GradientMethod, image_gradient


@dataclass(frozen=True)
class Gradient(GradientMethod):
    """Gradient of the target with respect to the image.

    Example:
        >>> import torch
        >>> from sess_kernels import load_backbone
        >>> images = torch.rand(2, 3, 224, 224)
        >>> Gradient().maps(load_backbone("lite0"), images, torch.tensor([285, 7])).shape
        torch.Size([2, 224, 224])
    """

    title = "Gradient"

    def differentiate(
        self, backbone: Backbone, images: Tensor, class_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Maps (N, S, S), at least zero, and logits."""
        gradient, logits = image_gradient(backbone, images, class_index)
        return gradient.abs().amax(1), logits

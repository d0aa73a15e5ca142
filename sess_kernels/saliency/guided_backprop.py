r"""Guided backpropagation (Springenberg et al., ICLR workshop 2015).

The gradient of the target, except that every activation lets pass

    (local derivative) * (incoming gradient)  where incoming gradient and output are positive

and nothing elsewhere. With this guided gradient g and the channels k of the image,

    L_c(i, j) = max over k of  | g_k(i, j) |
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.saliency.activations import guide
from sess_kernels.saliency.base import GradientMethod, image_gradient


@dataclass(frozen=True)
class GuidedBackprop(GradientMethod):
    """Guided backpropagation.

    Every activation like ReLU is guided, smooth ones (GELU, SiLU, Hardswish, ...) too, however the
    model writes it down: see ``sess_kernels.saliency.activations``.

    Example:
        >>> import torch
        >>> from sess_kernels import load_backbone
        >>> images = torch.rand(2, 3, 224, 224)
        >>> GuidedBackprop().maps(load_backbone("lite0"), images, torch.tensor([285, 7])).shape
        torch.Size([2, 224, 224])
    """

    title = "Guided backpropagation"

    def differentiate(
        self, backbone: Backbone, images: Tensor, class_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Maps (N, S, S), at least zero, and logits."""
        gradient, logits = image_gradient(backbone, images, class_index, guide)
        return gradient.abs().amax(1), logits

r"""Grad-CAM++ (Chattopadhay et al., WACV 2018).

With the features A of the target layer, the target y of class c, g = d y_c / d A_k(i, j), and all
sums over positions,

    alpha_k(i, j) = g^2 / (2 g^2 + g^3 sum A_k)
    weight_k      = sum  alpha_k ReLU(g)
    L_c           = ReLU( sum_k  weight_k A_k )

where 0/0 counts as 0. (The paper derives alpha for exp(y), which multiplies the map by a number.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.saliency.base import FeatureMethod, feature_gradient
from sess_kernels.saliency.gradcam import weighted_sum


def channel_weight(first: Tensor, second: Tensor, third: Tensor, activations: Tensor) -> Tensor:
    """Weights (N, C) of Grad-CAM++ from the gradient and its second and third power.

    Args:
        first: (N, C, h, w) gradient, or (N, C, 1, 1) if it is the same at every position.
        second: Its square, of the same shape.
        third: Its cube, of the same shape.
        activations: (N, C, h, w).

    Example:
        >>> g = torch.tensor([2.0, -1.0, 0.0]).view(1, 3, 1, 1)
        >>> channel_weight(g, g**2, g**3, torch.ones(1, 3, 1, 1))
        tensor([[0.5000, 0.0000, 0.0000]])
    """
    positions = activations[0, 0].numel()
    total = activations.sum((2, 3), keepdim=True)
    below = 2 * second + third * total
    alpha = torch.where(below == 0, 0, second / below)
    return (alpha * first.relu()).mean((2, 3)) * positions


@dataclass(frozen=True)
class GradCAMPlusPlus(FeatureMethod):
    """Grad-CAM++.

    Example:
        >>> from sess_kernels import load_backbone
        >>> backbone = load_backbone("lite0")
        >>> features, logits = backbone(torch.rand(2, 3, 224, 224))
        >>> GradCAMPlusPlus().maps(backbone, features, logits.argmax(1)).shape
        torch.Size([2, 7, 7])
    """

    title = "Grad-CAM++"

    def maps(self, backbone: Backbone, features: Tensor, class_index: Tensor) -> Tensor:
        """Maps (N, h, w) of features (N, ...) and classes ``int64 (N,)``, at least zero."""
        activations = backbone.spatial(features)
        gradient = feature_gradient(backbone, features, class_index)
        # a factor common to the second and third power cancels; without it they underflow
        second, third = torch.ones_like(gradient), gradient
        weight = channel_weight(gradient, second, third, activations)
        return weighted_sum(weight, activations).relu()

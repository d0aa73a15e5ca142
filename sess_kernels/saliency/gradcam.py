r"""Grad-CAM (Selvaraju et al., ICCV 2017).

With the features A of the target layer and the target y of class c,

    weight_k = mean over positions (i, j) of  d y_c / d A_k(i, j)
    L_c      = ReLU( sum_k  weight_k A_k )
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.saliency.base import FeatureMethod, feature_gradient


def weighted_sum(weight: Tensor, activations: Tensor) -> Tensor:
    """Sum over channels (N, h, w) of activations (N, C, h, w) with weights (N, C).

    Example:
        >>> weighted_sum(torch.tensor([[1.0, 2.0]]), torch.ones(1, 2, 1, 1)).item()
        3.0
    """
    n, channels, height, width = activations.shape
    positions = activations.permute(0, 2, 3, 1).reshape(n, height * width, channels)
    # on a CPU a row before the matrix is faster than a column behind it
    return torch.bmm(weight[:, None], positions.transpose(1, 2)).view(n, height, width)


@dataclass(frozen=True)
class GradCAM(FeatureMethod):
    """Grad-CAM.

    Example:
        >>> from sess_kernels import load_backbone
        >>> backbone = load_backbone("lite0")
        >>> features, logits = backbone(torch.rand(2, 3, 224, 224))
        >>> GradCAM().maps(backbone, features, logits.argmax(1)).shape
        torch.Size([2, 7, 7])
    """

    title = "Grad-CAM"

    def maps(self, backbone: Backbone, features: Tensor, class_index: Tensor) -> Tensor:
        """Maps (N, h, w), at least zero, not normalised."""
        weight = feature_gradient(backbone, features, class_index).mean((2, 3))
        return weighted_sum(weight, backbone.spatial(features)).relu()

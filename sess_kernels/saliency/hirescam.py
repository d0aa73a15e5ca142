r"""HiResCAM (Draelos & Carin, 2020, "Use HiResCAM instead of Grad-CAM for faithful explanations").

With the features A of the target layer and the target y of class c,

    L_c(i, j) = ReLU( sum_k  d y_c / d A_k(i, j)  A_k(i, j) )

Grad-CAM averages the gradient over positions first. Where the head is average pooling and one
linear layer both are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.saliency.base import FeatureMethod, feature_gradient
from sess_kernels.saliency.gradcam import weighted_sum


def positionwise_sum(weight: Tensor, activations: Tensor) -> Tensor:
    """Sum over channels (N, h, w) of activations (N, C, h, w) with weights at each position.

    Args:
        weight: (N, C, h, w), or (N, C, 1, 1) if it is the same at every position.
        activations: (N, C, h, w).

    Example:
        >>> import torch
        >>> weight = torch.tensor([[[[1.0, 2.0]], [[0.0, 5.0]]]])
        >>> positionwise_sum(weight, torch.ones(1, 2, 1, 2)).tolist()
        [[[1.0, 7.0]]]
    """
    if weight.shape[2:] != activations.shape[2:]:
        return weighted_sum(weight[:, :, 0, 0], activations)
    return (weight * activations).permute(0, 2, 3, 1).contiguous().sum(3)


@dataclass(frozen=True)
class HiResCAM(FeatureMethod):
    """HiResCAM.

    Example:
        >>> import torch
        >>> from sess_kernels import load_backbone
        >>> backbone = load_backbone("lite0")
        >>> features, logits = backbone(torch.rand(2, 3, 224, 224))
        >>> HiResCAM().maps(backbone, features, logits.argmax(1)).shape
        torch.Size([2, 7, 7])
    """

    title = "HiResCAM"

    def maps(self, backbone: Backbone, features: Tensor, class_index: Tensor) -> Tensor:
        """Maps (N, h, w) of features (N, ...) and classes ``int64 (N,)``, at least zero."""
        gradient = feature_gradient(backbone, features, class_index)
        return positionwise_sum(gradient, backbone.spatial(features)).relu()

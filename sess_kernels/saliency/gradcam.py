r"""Grad-CAM (Selvaraju et al., ICCV 2017).

With the features A of the target layer and the logit y of class c,

    weight_k = mean over positions (i, j) of  d y_c / d A_k(i, j)
    L_c      = ReLU( sum_k  weight_k A_k )

Where the rest of the network is average pooling and one linear layer with weight W over h x w
positions, the gradient is known without a backward pass: weight_k = W_ck / (h w). Elsewhere it is
taken through the head alone, from the features to the logits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sess_kernels.backbones.base import Backbone


def gradcam(backbone: Backbone, features: Tensor, class_index: Tensor) -> Tensor:
    """Grad-CAM of a batch, one class for each entry.

    Args:
        backbone: The classifier that gave the features.
        features: (N, C, h, w), its target layer's output.
        class_index: ``int64 (N,)``, the class to explain in each entry.

    Returns:
        (N, h, w), at least zero, not normalised.

    Example:
        >>> from sess_kernels import load_backbone
        >>> backbone = load_backbone("lite0")
        >>> features, logits = backbone(torch.rand(2, 3, 224, 224))
        >>> gradcam(backbone, features, logits.argmax(1)).shape
        torch.Size([2, 7, 7])
    """
    n, channels, height, width = features.shape
    if backbone.pooled_weight is not None:
        weight = backbone.pooled_weight[class_index] / (height * width)
    else:
        weight = _gradient(backbone, features, class_index).mean((2, 3))
    positions = features.permute(0, 2, 3, 1).reshape(n, height * width, channels)
    return torch.bmm(positions, weight[:, :, None]).view(n, height, width).relu()


def _gradient(backbone: Backbone, features: Tensor, class_index: Tensor) -> Tensor:
    """D y_c / d A (N, C, h, w), through the head only."""
    with torch.enable_grad():
        leaf = features.detach().requires_grad_()
        chosen = backbone.head(leaf).gather(1, class_index[:, None]).sum()
        return torch.autograd.grad(chosen, leaf)[0]

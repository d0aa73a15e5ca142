"""Evidence: what each place of a patch contributes to the log-score of a class."""

from __future__ import annotations

import torch
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.saliency.gradcam import weighted_sum


def evidence(backbone: Backbone, features: Tensor, class_index: Tensor) -> Tensor:
    """Contribution of each place to the log-score, positive where it speaks for the class.

    With the features A of the target layer and the score s_c it is Grad-CAM of ``log s_c`` without
    its ReLU, of weights that are sums over positions: the mean over places then is the change of
    the log-score, to first order, if all features were zero.

    Args:
        backbone: The classifier.
        features: (N, ...) output of its target layer, of any precision.
        class_index: ``int64 (N,)``.

    Returns:
        ``float32 (N, h, w)``.

    Example:
        >>> from sess_kernels import load_backbone
        >>> backbone = load_backbone("lite0")
        >>> features, logits = backbone(torch.rand(2, 3, 224, 224))
        >>> evidence(backbone, features, logits.argmax(1)).shape
        torch.Size([2, 7, 7])
    """
    features = features.float()
    if backbone.pooled_weight is not None:
        logits = backbone.head(features)
        weight = torch.mm(backbone.log_score_gradient(logits, class_index), backbone.pooled_weight)
    else:
        with torch.enable_grad():
            leaf = features.detach().requires_grad_()
            logits = backbone.head(leaf)
            up = backbone.log_score_gradient(logits.detach(), class_index)
            [gradient] = torch.autograd.grad(logits, leaf, up)
        weight = backbone.spatial(gradient).sum((2, 3))
    return weighted_sum(weight, backbone.spatial(features))

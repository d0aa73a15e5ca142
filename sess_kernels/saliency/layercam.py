r"""LayerCAM (Jiang et al., IEEE Transactions on Image Processing 2021).

With the features A of the target layer and the target y of class c,

    L_c(i, j) = ReLU( sum_k  ReLU( d y_c / d A_k(i, j) )  A_k(i, j) )

Made for layers in front of the last one too, whose gradient differs from position to position.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.saliency.base import FeatureMethod, feature_gradient
from sess_kernels.saliency.hirescam import positionwise_sum


@dataclass(frozen=True)
class LayerCAM(FeatureMethod):
    """LayerCAM.

    Example:
        >>> import torch
        >>> from sess_kernels import load_backbone
        >>> backbone = load_backbone("lite0", target_layer="blocks.4")
        >>> features, logits = backbone(torch.rand(2, 3, 224, 224))
        >>> LayerCAM().maps(backbone, features, logits.argmax(1)).shape
        torch.Size([2, 14, 14])
    """

    title = "LayerCAM"

    def maps(self, backbone: Backbone, features: Tensor, class_index: Tensor) -> Tensor:
        """Maps (N, h, w) of features (N, ...) and classes ``int64 (N,)``, at least zero."""
        weight = feature_gradient(backbone, features, class_index).relu()
        return positionwise_sum(weight, backbone.spatial(features)).relu()

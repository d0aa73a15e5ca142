r"""CAM, class activation mapping (Zhou et al., CVPR 2016).

Where the network ends in average pooling and one linear layer with the weights w, the logit of
class c is, up to its bias, the mean over positions of

    M_c(i, j) = sum_k  w_{c,k} A_k(i, j)

with the features A of the target layer. M_c is the map; it may be negative.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.errors import SessError
from sess_kernels.saliency.base import FeatureMethod
from sess_kernels.saliency.gradcam import weighted_sum


@dataclass(frozen=True)
class CAM(FeatureMethod):
    """CAM, for networks that end in average pooling and one linear layer.

    Of a group of classes it takes the gradient of the group's log-probability with respect to the
    pooled features instead of the weights of one class.

    Example:
        >>> import torch
        >>> from sess_kernels import load_backbone
        >>> backbone = load_backbone("lite0")
        >>> features, logits = backbone(torch.rand(1, 3, 224, 224))
        >>> bias = list(backbone.head.parameters())[-1]
        >>> map_ = CAM().maps(backbone, features, torch.tensor([7]))
        >>> torch.allclose(map_.mean() + bias[7], logits[0, 7], atol=1e-5)
        True
    """

    title = "CAM"

    def check(self, backbone: Backbone) -> None:
        """Raise ``SessError`` if anything but average pooling and a linear layer is in the head."""
        if backbone.pooled_weight is None:
            raise SessError(
                f"cam needs a network that ends in average pooling and one linear layer, but "
                f"{backbone.name} has more behind {backbone.target_layer!r}; use gradcam"
            )

    def maps(self, backbone: Backbone, features: Tensor, class_index: Tensor) -> Tensor:
        """Maps (N, h, w) of features (N, ...) and classes ``int64 (N,)``, not normalised."""
        weight = backbone.pooled_gradient(features, class_index)
        return weighted_sum(weight, backbone.spatial(features))

r"""Smooth Grad-CAM++ (Omeiza et al., 2019, arXiv:1908.01224).

Grad-CAM++ with derivatives averaged over noisy copies of the image. With the features A of the
target layer for the image itself, g_m = d y_c / d A_k(i, j) for copy m of n, <.> the mean over the
copies, and all other sums over positions,

    alpha_k(i, j) = <g^2> / (2 <g^2> + <g^3> sum A_k)
    weight_k      = sum  alpha_k ReLU(<g>)
    L_c           = ReLU( sum_k  weight_k A_k )

where 0/0 counts as 0. The paper prints <g> above the fraction bar of alpha; as in Grad-CAM++, of
which the method is the average, it must be <g^2>.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.saliency.base import BaseMethod, Query, feature_gradient
from sess_kernels.saliency.copies import Part, patch_batches
from sess_kernels.saliency.gradcam import weighted_sum
from sess_kernels.saliency.gradcam_pp import GradCAMPlusPlus, channel_weight
from sess_kernels.saliency.noise import gaussian_noise


@dataclass(frozen=True)
class SmoothGradCAMPlusPlus(BaseMethod):
    """Smooth Grad-CAM++.

    Where the head is average pooling and one linear layer, the gradient of a logit is the same for
    every input. Noise then changes nothing, no copies are made and the map is that of Grad-CAM++;
    name an earlier target layer there.

    Attributes:
        n_samples: Noisy copies of each patch.
        noise_level: Standard deviation of the noise, as a share of the patch's range of values.
        seed: Start of the noise; copy m of every patch has the same.

    Example:
        >>> from sess_kernels import load_backbone
        >>> backbone = load_backbone("lite0", target_layer="blocks.5")
        >>> images = torch.rand(1, 3, 224, 224)
        >>> query = Query(images, backbone.body(images), torch.tensor([0]), torch.tensor([7]), 1)
        >>> SmoothGradCAMPlusPlus(n_samples=2)(backbone, query).shape
        torch.Size([1, 7, 7])
    """

    title = "Smooth Grad-CAM++"

    n_samples: int = 8
    noise_level: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_samples < 1:
            raise ValueError(f"n_samples must be at least 1 but got {self.n_samples}")
        if not 0 <= self.noise_level < float("inf"):
            raise ValueError(f"noise_level must be at least 0 but got {self.noise_level}")

    def __call__(self, backbone: Backbone, query: Query) -> Tensor:
        """Maps (M, h, w) of the M pairs of the query, at least zero, not normalised."""
        if backbone.pooled_weight is not None and backbone.groups is None:
            return GradCAMPlusPlus()(backbone, query)
        noise = gaussian_noise(self.n_samples, tuple(query.images.shape[1:]), self.seed)
        found: list[Tensor] = []
        order: list[Tensor] = []
        for patches, parts in patch_batches(query):
            moments = self._moments(backbone, query.images[patches], noise, parts)
            activations = backbone.spatial(query.features[patches])
            for part, (first, second, third) in zip(parts, moments, strict=True):
                weight = channel_weight(first, second, third, activations[part.rows])
                maps = weighted_sum(weight, activations[part.rows]).relu()
                found.append(maps[: len(part.pairs)])
                order.append(part.pairs)
        return torch.cat(found)[torch.cat(order).argsort()]

    def _moments(
        self, backbone: Backbone, images: Tensor, noise: list[Tensor], parts: list[Part]
    ) -> list[Tensor]:
        """Mean over the copies of gradient, square and cube (3, N, C, h, w), for each part."""
        span = images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True)
        sums: list[Tensor] = []
        for number, sample in enumerate(noise):
            copies = images + self.noise_level * span * sample.to(images)
            features = backbone.body(copies.contiguous(memory_format=torch.channels_last))
            for index, part in enumerate(parts):
                g = feature_gradient(backbone, features[part.rows], part.class_index)
                powers = torch.stack([g, g**2, g**3])
                if number == 0:
                    sums.append(powers)
                else:
                    sums[index] += powers
        return [total / self.n_samples for total in sums]

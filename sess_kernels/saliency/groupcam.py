r"""Group-CAM (Zhang, Rao and Yang, "Group-CAM: Group Score-Weighted Visual Explanations", 2021).

arXiv 2103.13859; the third base method of the SESS paper. With the weights w_k of Grad-CAM, the
features A_k of the target layer in G groups of consecutive channels, the image x, its blurred
version b and the probability p_c of class c,

    S_l     = ReLU( sum over k of group l  w_k A_k )
    M_l     = enlarged S_l, min-max normalised
    alpha_l = ReLU( p_c( M_l x + (1 - M_l) b ) - p_c( b ) )
    L_c     = ReLU( sum_l  alpha_l S_l )

The published SESS program's maps are reached (within 1e-5) with exactly this: the maps S_l are not
de-noised, they are summed as they are and not normalised, and the image is blurred by a Gaussian
of 51x51 pixels, sigma 50, with its borders mirrored without the edge. The Group-CAM paper also sets
what is below the 70th percentile to zero. ``percentile=70`` does that on the small maps, over all
groups of a patch together and with linear interpolation between values; no published map of this
variant is at hand to compare with.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.saliency.base import BaseMethod, Query, feature_gradient
from sess_kernels.saliency.masking import ask, blur_matrix, unit_range


@dataclass(frozen=True)
class GroupCAM(BaseMethod):
    """Group-CAM.

    Each pair takes ``n_groups`` forwards, and each patch one more for its classes together.

    Attributes:
        n_groups: Groups of channels; never more than there are channels.
        percentile: What of the groups' maps is below it is set to zero; 0 keeps everything, as the
            published SESS program does, 70 is the Group-CAM paper's.
        kernel_size: Side of the kernel that blurs the image, in pixels, odd.
        sigma: Its standard deviation in pixels.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> from sess_kernels import load_backbone
        >>> backbone, images = load_backbone("lite0"), torch.rand(1, 3, 224, 224)
        >>> zero, cat = torch.tensor([0]), torch.tensor([281])
        >>> query = Query(images, backbone(images)[0], zero, cat, batch_size=4)
        >>> GroupCAM(n_groups=4)(backbone, query).shape
        torch.Size([1, 7, 7])
    """

    title = "Group-CAM"

    n_groups: int = 32
    percentile: float = 0.0
    kernel_size: int = 51
    sigma: float = 50.0

    def __post_init__(self) -> None:
        if self.n_groups < 1:
            raise ValueError(f"n_groups must be at least 1 but got {self.n_groups}")
        if not 0 <= self.percentile < 100:
            raise ValueError(f"percentile must be in [0, 100) but got {self.percentile}")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive but got {self.kernel_size}")
        if not self.sigma > 0:
            raise ValueError(f"sigma must be above 0 but got {self.sigma}")

    def __call__(self, backbone: Backbone, query: Query) -> Tensor:
        """Maps (M, h, w), at least zero, not normalised."""
        groups = torch.cat([self._groups(backbone, query, *batch) for batch in query.batches()])
        groups = groups[: len(query)]
        gain = self._gain(backbone, query, groups)
        # pair by pair: the order of a sum may depend on how many are summed together
        pairs = zip(gain, groups, strict=True)
        return torch.stack([(one[:, None, None] * maps).sum(0) for one, maps in pairs])

    def _groups(
        self, backbone: Backbone, query: Query, patches: Tensor | slice, classes: Tensor
    ) -> Tensor:
        """The maps (B, groups, h, w) of the groups of channels."""
        features = query.features[patches]
        weight = feature_gradient(backbone, features, classes).mean((2, 3), keepdim=True)
        weighted = weight * backbone.spatial(features)
        n_groups = min(self.n_groups, weighted.shape[1])
        parts = weighted.tensor_split(n_groups, dim=1)
        groups = torch.stack([part.sum(1) for part in parts], dim=1).relu()
        if self.percentile:
            for maps in groups:  # one by one: quantile takes no more than 16 million values
                maps *= maps >= maps.quantile(self.percentile / 100)
        return groups

    def _gain(self, backbone: Backbone, query: Query, groups: Tensor) -> Tensor:
        """What each group adds to the probability of the class (M, groups), at least zero."""
        device, size = groups.device, query.images.shape[-1]
        seen, position = torch.unique(query.patch, return_inverse=True)
        patch, position = query.patch.to(device), position.to(device)
        classes, n_groups = query.class_index.to(device), groups.shape[1]
        matrix = blur_matrix(size, self.sigma, self.kernel_size // 2, mirrored=True).to(device)
        blurred = torch.stack([matrix @ query.images[one] @ matrix.T for one in seen])

        def mask(rows: Tensor) -> Tensor:
            pair = rows // n_groups
            maps = groups[pair, rows % n_groups][:, None]
            masks = unit_range(F.interpolate(maps, (size, size), mode="bilinear"))
            ground = blurred[position[pair]]
            return ground + masks * (query.images[patch[pair]] - ground)

        def read(logits: Tensor, rows: Tensor) -> Tensor:
            wanted = classes[rows // n_groups]
            return backbone.scores(logits).gather(1, wanted[:, None])[:, 0]

        def scores(logits: Tensor, _: Tensor) -> Tensor:
            return backbone.scores(logits)

        found = ask(backbone, len(query) * n_groups, query.batch_size, mask, read)
        ground = ask(backbone, len(seen), query.batch_size, blurred.__getitem__, scores)
        return (found.view(-1, n_groups) - ground[position, classes][:, None]).relu()

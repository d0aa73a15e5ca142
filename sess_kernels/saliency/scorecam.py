r"""Score-CAM (Wang et al., "Score-CAM: Score-Weighted Visual Explanations for CNNs", CVPRW 2020).

With the features A_k of the target layer, the image x and the target y of class c,

    M_k      = enlarged A_k, min-max normalised
    weight_k = softmax over k of  y_c( M_k x )
    L_c      = ReLU( sum_k  weight_k A_k )

No gradient is taken. x is the normalised image, so that what is masked out has the mean colour.
The score of the image without a mask, which some subtract, cancels in the softmax.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sess_kernels.backbones.base import Backbone
from sess_kernels.saliency.base import BaseMethod, Query
from sess_kernels.saliency.gradcam import weighted_sum
from sess_kernels.saliency.masking import ask, unit_range


@dataclass(frozen=True)
class ScoreCAM(BaseMethod):
    """Score-CAM.

    One forward for each channel of a patch, shared by all its classes. A channel that is constant
    gives no mask and has no part in the map.

    Attributes:
        max_channels: Channels of a patch to take, those that vary most over its positions (largest
            standard deviation); all of them if not given.
        align_corners: Enlarge the masks so that the outer samples lie on the outer pixels, as
            pytorch-grad-cam does; else pixels and samples are areas, as everywhere in SESS.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> from sess_kernels import load_backbone
        >>> backbone, images = load_backbone("lite0"), torch.rand(1, 3, 224, 224)
        >>> zero, cat = torch.tensor([0]), torch.tensor([281])
        >>> query = Query(images, backbone(images)[0], zero, cat, batch_size=4)
        >>> ScoreCAM(max_channels=8)(backbone, query).shape
        torch.Size([1, 7, 7])
    """

    title = "Score-CAM"

    max_channels: int | None = None
    align_corners: bool = False

    def __post_init__(self) -> None:
        if self.max_channels is not None and self.max_channels < 1:
            raise ValueError(f"max_channels must be at least 1 but got {self.max_channels}")

    def __call__(self, backbone: Backbone, query: Query) -> Tensor:
        """Maps (M, h, w), at least zero, not normalised."""
        shared = list(query.by_patch())
        channels = [self._channels(_features(backbone, query, patch)) for patch, _ in shared]
        found = self._targets(backbone, query, channels)
        maps: dict[int, Tensor] = {}
        for (patch, pairs), chosen, targets in zip(shared, channels, found, strict=True):
            features = _features(backbone, query, patch)[chosen]
            for column, pair in enumerate(pairs.tolist()):
                weight = targets[:, column].softmax(0)
                maps[pair] = weighted_sum(weight[None], features[None])[0].relu()
        return torch.stack([maps[pair] for pair in range(len(query))])

    def _channels(self, features: Tensor) -> Tensor:
        """The channels of features (C, h, w) that give a mask, in ascending order."""
        flat = features.flatten(1)
        varies = (flat.amax(1) > flat.amin(1)).nonzero()[:, 0]
        if self.max_channels is None or len(varies) <= self.max_channels:
            return varies
        order = flat[varies].std(1).argsort(descending=True, stable=True)
        return varies[order[: self.max_channels]].sort().values

    def _targets(
        self, backbone: Backbone, query: Query, channels: list[Tensor]
    ) -> Sequence[Tensor]:
        """For each patch the targets (masks, K) of its masked images, one column a class."""
        device, size = query.features.device, query.images.shape[-1]
        shared = list(query.by_patch())
        # a patch with fewer classes than another has columns that nobody reads
        classes = pad_sequence([query.class_index[pairs] for _, pairs in shared], batch_first=True)
        counts = [len(chosen) for chosen in channels]
        if not sum(counts):
            return [torch.zeros(0, classes.shape[1], device=device) for _ in counts]
        number = torch.arange(len(shared)).repeat_interleave(torch.tensor(counts)).to(device)
        patch = torch.tensor([patch for patch, _ in shared], device=device)[number]
        channel, classes = torch.cat(channels), classes.to(device)

        def make(rows: Tensor) -> Tensor:
            features = backbone.spatial(query.features[patch[rows]])
            maps = features[torch.arange(len(rows), device=device), channel[rows]][:, None]
            masks = F.interpolate(
                maps, (size, size), mode="bilinear", align_corners=self.align_corners
            )
            return query.images[patch[rows]] * unit_range(masks)

        def read(logits: Tensor, rows: Tensor) -> Tensor:
            wanted = classes[number[rows]].T
            return torch.stack([backbone.target(logits, column) for column in wanted], dim=1)

        found = ask(backbone, len(channel), query.batch_size, make, read)
        return torch.split(found, counts)


def _features(backbone: Backbone, query: Query, patch: int) -> Tensor:
    """Features (C, h, w) of one patch."""
    return backbone.spatial(query.features[patch : patch + 1])[0]

"""Insertion and deletion: what the score does as the salient pixels come and go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sess_kernels.backbones import Backbone
from sess_kernels.images import Image, to_tensor
from sess_kernels.packing import fixed_batches
from sess_kernels.precision import exact_fp32


class InsertionDeletion(NamedTuple):
    """Areas under the two curves, and their difference.

    Attributes:
        insertion: Of the score as salient pixels are put into the blurred image.
        deletion: Of the score as they are blanked in the image.
    """

    insertion: float
    deletion: float

    @property
    def overall(self) -> float:
        """``insertion - deletion`` (paper section 4.1)."""
        return self.insertion - self.deletion


@exact_fp32()
@torch.no_grad()
def insertion_deletion(
    backbone: Backbone,
    image: Image,
    saliency: Tensor | Sequence[Tensor],
    class_index: int,
    *,
    share: float = 0.036,
    blur: tuple[int, float] = (51, 50.0),
    batch_size: int = 32,
) -> list[InsertionDeletion]:
    """Judge maps of one class of one image (RISE, BMVC 2018; settings of Group-CAM).

    Image and maps are brought to the input size of the backbone. A step moves ``share`` of the
    pixels, the most salient first and equal ones row by row; the last step moves what is left. The
    area is that under the trapezes between the steps, which are all equally wide.

    Args:
        backbone: The classifier.
        image: Image (H, W, 3) or (3, H, W).
        saliency: One map (H, W) of the image or several.
        class_index: The class whose score is followed.
        share: Share of the pixels of a step; 3.6 % in the paper.
        blur: Side in pixels and standard deviation of the Gaussian blur that insertion begins with.
        batch_size: Patches of a forward.

    Returns:
        One ``InsertionDeletion`` a map.

    Raises:
        ValueError: If ``share`` is not in (0, 1] or the side of the blur is even.

    Example:
        >>> from skimage.data import chelsea
        >>> from sess_kernels import SESSConfig, load_backbone, sess
        >>> saliency = sess(chelsea(), 285, config=SESSConfig(scales=1))
        >>> [cat] = insertion_deletion(load_backbone("lite0"), chelsea(), saliency, 285)
        >>> cat.insertion > cat.deletion
        True
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, but is {share:g}")
    maps = [saliency] if isinstance(saliency, Tensor) else list(saliency)
    size = (backbone.input_size, backbone.input_size)
    whole = _resized(backbone.normalize(to_tensor(image).to(backbone.device))[None], size)
    ends = (_blurred(whole, *blur), whole), (whole, torch.zeros_like(whole))
    n_pixels = size[0] * size[1]
    step = max(1, round(share * n_pixels))
    moved = torch.arange(0, n_pixels + step, step).clamp_max(n_pixels).tolist()
    found = []
    for one in maps:
        ranks = _ranks(one.to(whole), size)
        frames = [
            torch.where(ranks < many, after[0], before[0])
            for before, after in ends
            for many in moved
        ]
        curves = _scores(backbone, frames, class_index, batch_size).view(2, len(moved))
        areas = torch.trapezoid(curves) / (len(moved) - 1)
        found.append(InsertionDeletion(*areas.tolist()))
    return found


def _ranks(saliency: Tensor, size: tuple[int, int]) -> Tensor:
    """The place of each pixel (H, W) in the order of saliency, 0 for the most salient."""
    values = _resized(saliency[None, None], size).flatten()
    return values.argsort(descending=True, stable=True).argsort().view(size)


def _scores(
    backbone: Backbone, frames: Sequence[Tensor], class_index: int, batch_size: int
) -> Tensor:
    found = []
    for rows in fixed_batches(len(frames), batch_size):
        batch = torch.stack([frames[int(row)] for row in rows])
        _, logits = backbone(batch.contiguous(memory_format=torch.channels_last))
        found.append(backbone.scores(logits)[:, class_index])
    return torch.cat(found)[: len(frames)].double().cpu()


def _resized(planes: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(planes.shape[-2:]) == size:
        return planes
    return F.interpolate(planes, size, mode="bilinear", align_corners=False, antialias=True)


def _blurred(image: Tensor, side: int, sigma: float) -> Tensor:
    """A Gaussian blur of (1, 3, H, W), one axis at a time, reflected at the edges."""
    if side % 2 == 0:
        raise ValueError(f"the side of the blur must be odd, but is {side}")
    steps = torch.arange(side, device=image.device, dtype=image.dtype) - side // 2
    weights = (-(steps**2) / (2 * sigma**2)).exp()
    weights = (weights / weights.sum()).expand(3, 1, 1, side)
    padded = F.pad(image, [side // 2] * 4, mode="reflect")
    rows = F.conv2d(padded, weights, groups=3)
    return F.conv2d(rows, weights.mT, groups=3)

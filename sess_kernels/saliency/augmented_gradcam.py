r"""Augmented Grad-CAM (Morbidelli et al., ICASSP 2020).

Grad-CAMs g_l of L rotated and shifted copies of an image are views of one map h of higher
resolution. With A_l the rotation and shift of copy l, and D the mean over the s x s pixels of h
that make up one position of g_l, the map is

    h = argmin  1/2 sum_l || D A_l h - g_l ||^2  +  lambda TV(h)  +  mu/2 || h ||^2

where TV(h) is the sum of absolute differences of neighbours, down and across. The minimum is found
by gradient descent (Adam, with a step that shrinks to zero). The g_l of an image are divided by
their common maximum first, so that lambda, mu and the step mean the same for every image.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.packing import fixed_batches
from sess_kernels.saliency.base import BaseMethod, Query
from sess_kernels.saliency.copies import patch_batches
from sess_kernels.saliency.gradcam import GradCAM

_STEP = 0.02  # of Adam at the start, in units of the largest value of a Grad-CAM


def augmentations(n: int, max_rotation: float, max_shift: float, seed: int) -> Tensor:
    """Rotations and shifts (n, 2, 3) in float64; the first one changes nothing.

    Each matrix takes a point (x, y, 1) of the copy to the point of the image that is seen there,
    in coordinates that run from -1 to 1, as ``torch.nn.functional.affine_grid`` wants it.

    Args:
        n: How many.
        max_rotation: Largest angle in degrees.
        max_shift: Largest shift, as a share of the side.
        seed: Start of the random numbers; number l depends on it and on l alone.

    Example:
        >>> torch.equal(augmentations(2, 90, 0.5, 0)[0], torch.eye(3, dtype=torch.float64)[:2])
        True
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.rand(3, generator=generator, dtype=torch.float64) * 2 - 1 for _ in range(n)]
    drawn[0] = torch.zeros(3, dtype=torch.float64)
    turn, across, down = torch.stack(drawn).unbind(1)
    angle = turn * math.radians(max_rotation)
    shift = 2 * max_shift
    rows = [angle.cos(), -angle.sin(), across * shift, angle.sin(), angle.cos(), down * shift]
    return torch.stack(rows, dim=1).view(n, 2, 3)


def observation_matrix(theta: Tensor, size: tuple[int, int], scale: int) -> Tensor:
    """D A_l of every l, below each other, as a sparse matrix (n h w, h scale w scale).

    Bilinear; the map is zero outside its borders.

    Args:
        theta: ``float64 (n, 2, 3)`` from ``augmentations``.
        size: Height and width (h, w) of a Grad-CAM.
        scale: Pixels of the map along each side of a position of a Grad-CAM.

    Example:
        >>> theta = augmentations(1, 0, 0, 0)
        >>> observation_matrix(theta, (1, 1), 2).to_dense().tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    n, (height, width) = len(theta), (size[0] * scale, size[1] * scale)
    grid = F.affine_grid(theta, [n, 1, height, width], align_corners=False)
    x, y = ((grid + 1) * torch.tensor([width, height]) - 1).div(2).unbind(-1)
    down, across = torch.arange(height) // scale, torch.arange(width) // scale
    position = (torch.arange(n)[:, None, None] * size[0] + down[:, None]) * size[1] + across
    taps = []
    for top, left in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row, column = y.floor() + top, x.floor() + left
        weight = (1 - (y - row).abs()) * (1 - (x - column).abs()) / scale**2
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width) & (weight > 0)
        pixel = (row * width + column).long()
        taps.append((position[inside], pixel[inside], weight[inside]))
    rows, columns, values = (torch.cat(parts) for parts in zip(*taps, strict=True))
    shape = (n * size[0] * size[1], height * width)
    return torch.sparse_coo_tensor(torch.stack([rows, columns]), values, shape).coalesce()


class _Views(NamedTuple):
    """What one size of Grad-CAM needs: the augmentations, and D A_l with its transpose."""

    theta: Tensor
    matrix: Tensor
    transposed: Tensor


@lru_cache(maxsize=4)
def _views(
    drawn: tuple[int, float, float, int], size: tuple[int, int], scale: int, device: torch.device
) -> _Views:
    theta = augmentations(*drawn)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse")  # CSR is a beta; checks are off, as they should
        matrix = observation_matrix(theta, size, scale).float().to(device)
        rows, columns = matrix.to_sparse_csr(), matrix.t().coalesce().to_sparse_csr()
    return _Views(theta.float().to(device), rows, columns)


@dataclass(frozen=True)
class AugmentedGradCAM(BaseMethod):
    """Augmented Grad-CAM: a map of higher resolution from Grad-CAMs of rotated and shifted copies.

    Attributes:
        n_augmentations: Copies of each patch, the patch itself among them.
        max_rotation: Largest angle of a copy in degrees.
        max_shift: Largest shift of a copy, as a share of the side of the patch.
        tv_weight: lambda, the weight of the total variation.
        l2_weight: mu, the weight of the squared norm.
        iterations: Steps of Adam.
        scale: How many times higher and wider than a Grad-CAM the map is; less where the map would
            be larger than the patch.
        seed: Start of the rotations and shifts; every patch has the same.

    Example:
        >>> from sess_kernels import load_backbone
        >>> backbone = load_backbone("lite0")
        >>> images = torch.rand(1, 3, 224, 224)
        >>> query = Query(images, backbone.body(images), torch.tensor([0]), torch.tensor([7]), 1)
        >>> AugmentedGradCAM(n_augmentations=2, iterations=10)(backbone, query).shape
        torch.Size([1, 56, 56])
    """

    title = "Augmented Grad-CAM"

    n_augmentations: int = 16
    max_rotation: float = 15.0
    max_shift: float = 0.1
    tv_weight: float = 0.01
    l2_weight: float = 0.01
    iterations: int = 200
    scale: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_augmentations", "iterations", "scale"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1 but got {getattr(self, name)}")
        for name, end in (("max_rotation", 180), ("max_shift", 1)):
            if not 0 <= getattr(self, name) <= end:
                raise ValueError(f"{name} must be 0 to {end} but got {getattr(self, name)}")
        for name in ("tv_weight", "l2_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0 but got {getattr(self, name)}")

    def __call__(self, backbone: Backbone, query: Query) -> Tensor:
        """Maps (M, scale h, scale w) of the M pairs of the query, not normalised."""
        height, width = backbone.spatial(query.features[:1]).shape[2:]
        scale = max(1, min(self.scale, backbone.input_size // max(height, width)))
        drawn = (self.n_augmentations, self.max_rotation, self.max_shift, self.seed)
        views = _views(drawn, (height, width), scale, query.features.device)
        coarse = self._gradcams(backbone, query, views.theta, (height, width))
        parts = [
            self._enlarge(coarse[rows.to(coarse.device)], views, scale)
            for rows in fixed_batches(len(query), query.batch_size)
        ]
        return torch.cat(parts)[: len(query)]

    def _gradcams(
        self, backbone: Backbone, query: Query, theta: Tensor, size: tuple[int, int]
    ) -> Tensor:
        """Grad-CAMs (M, L, h, w) of the copies."""
        gradcam = GradCAM()
        found = query.features.new_empty(len(query), len(theta), *size)
        for patches, parts in patch_batches(query):
            images = query.images[patches]
            for number, one in enumerate(theta):
                if number == 0:  # the patch itself
                    features = query.features[patches]
                else:
                    grid = F.affine_grid(one.expand(len(images), 2, 3), list(images.shape), False)
                    copies = F.grid_sample(images, grid, align_corners=False)
                    features = backbone.body(copies.contiguous(memory_format=torch.channels_last))
                for part in parts:
                    maps = gradcam.maps(backbone, features[part.rows], part.class_index)
                    found[part.pairs, number] = maps[: len(part.pairs)]
        return found

    def _enlarge(self, coarse: Tensor, views: _Views, scale: int) -> Tensor:
        """The minimum (N, scale h, scale w) of the objective for Grad-CAMs (N, L, h, w)."""
        peak = coarse.amax((1, 2, 3), keepdim=True)
        relative = torch.where(peak > 0, coarse / peak, 0)
        start = F.interpolate(relative[:, :1], scale_factor=scale, mode="bilinear")
        observed = relative.flatten(1).T.contiguous()
        h = start[:, 0].permute(1, 2, 0).contiguous()  # a pair is a column
        adam = torch.optim.Adam([h], lr=_STEP)
        for step in range(self.iterations):
            adam.param_groups[0]["lr"] = (
                _STEP * (1 + math.cos(math.pi * step / self.iterations)) / 2
            )
            residual = views.matrix @ h.flatten(0, 1) - observed
            h.grad = (views.transposed @ residual).view_as(h) + self.l2_weight * h
            h.grad += self.tv_weight * _variation_gradient(h)
            adam.step()
        return h.permute(2, 0, 1) * peak[:, 0]


def _variation_gradient(h: Tensor) -> Tensor:
    """Subgradient of the total variation of maps (h, w, N)."""
    found = torch.zeros_like(h)
    down, across = h.diff(dim=0).sign(), h.diff(dim=1).sign()
    found[1:] += down
    found[:-1] -= down
    found[:, 1:] += across
    found[:, :-1] -= across
    return found

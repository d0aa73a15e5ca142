r"""Extremal perturbations (Fong, Patrick and Vedaldi, ICCV 2019), the preservation game.

For each area a the mask m that keeps of the image x what excites the target y of class c most,

    m_a = argmax over m  y_c( m (x) x )  -  lambda_t || vecsort(m) - r_a ||^2

where m (x) x blurs x the more the smaller m is (linear between levels of blur), vecsort(m) are the
sorted values of m, and r_a has zeros and then a share a of ones. The norm is a mean over pixels.
m is smooth by its making: cells v_i in [0, 1] on a lattice and a kernel k,

    m(u)    = smax over i of  k(u - i) v_i
    smax(z) = sum_i z_i e^(T z_i) / sum_i e^(T z_i),    T = 20
    k(d)    = exp( -2 max(0, |d| / sigma - 1/2)^2 )

on a domain larger than the image by sigma on every side. All cells start at one and go up the
gradient (momentum 0.9, lambda_t = 300 * 1.0035^t, every other step on the mirrored image). The map
is the sum of the masks of all areas, smoothed by a Gaussian, as in the paper's pointing game.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sess_kernels.backbones.base import Backbone
from sess_kernels.packing import fixed_batches
from sess_kernels.saliency.base import BaseMethod, Query
from sess_kernels.saliency.masking import blur_matrix, logits_of

_COLDNESS = 20.0  # T of the smooth maximum
_RATE, _MOMENTUM = 0.01, 0.9
_AREA_WEIGHT, _AREA_GROWTH = 300.0, 1.0035
_REACH = 4  # standard deviations that a blur's kernel reaches


@dataclass(frozen=True)
class ExtremalPerturbation(BaseMethod):
    """Extremal perturbations; pairs and areas are optimised together, in device batches.

    Each pair takes ``iterations`` forward and backward passes for each area. Where no step of a
    mask met a gradient of the network, the mask counts as zero: it shows the start alone.

    Attributes:
        areas: Shares of the patch to preserve, each giving one mask.
        iterations: Gradient steps of a mask.
        step: Pixels between two cells of a mask.
        sigma: Width of the kernel that makes masks smooth, in pixels.
        max_blur: Standard deviation of the strongest blur, in pixels.
        levels: Levels of blur, the last one none at all.
        smooth: Standard deviation of the Gaussian that smooths the map, as a share of its side.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> from sess_kernels import load_backbone
        >>> images, zero, cat = torch.rand(1, 3, 224, 224), torch.tensor([0]), torch.tensor([281])
        >>> query = Query(images, torch.zeros(1, 0), zero, cat, batch_size=1)
        >>> ExtremalPerturbation(areas=(0.1,), iterations=2)(load_backbone("lite0"), query).shape
        torch.Size([1, 224, 224])
    """

    title = "Extremal perturbation"
    needs_features = False

    areas: tuple[float, ...] = (0.025, 0.05, 0.1, 0.2)
    iterations: int = 800
    step: int = 7
    sigma: float = 21.0
    max_blur: float = 20.0
    levels: int = 8
    smooth: float = 0.09

    def __post_init__(self) -> None:
        object.__setattr__(self, "areas", tuple(self.areas))  # configurations have lists
        if not self.areas or not all(0 < area < 1 for area in self.areas):
            raise ValueError(f"areas must be between 0 and 1 but got {list(self.areas)}")
        for name, least in (("iterations", 1), ("step", 1), ("levels", 2), ("smooth", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least} but got {getattr(self, name)}")
        for name in ("sigma", "max_blur"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0 but got {getattr(self, name)}")

    def __call__(self, backbone: Backbone, query: Query) -> Tensor:
        """Maps (M, S, S), at least zero, not normalised."""
        device, size = query.images.device, query.images.shape[-1]
        n_areas = len(self.areas)
        areas = torch.tensor(self.areas, dtype=torch.float64)
        deviation = self.smooth * size
        matrix = blur_matrix(size, deviation, math.ceil(_REACH * deviation), mirrored=False)
        matrix = matrix.to(device)
        maps = torch.zeros(len(query), size, size, device=device)
        left = len(query) * n_areas
        for rows in fixed_batches(left, query.batch_size):
            pairs = rows // n_areas
            images = query.images[query.patch[pairs].to(device)]
            classes = query.class_index[pairs].to(device)
            masks = self.masks(backbone, images, classes, areas[rows % n_areas])
            for pair, mask in zip(pairs.tolist(), masks[:left], strict=False):
                maps[pair] += matrix @ mask @ matrix.T
            left -= len(rows)
        return maps

    def masks(
        self, backbone: Backbone, images: Tensor, class_index: Tensor, areas: Tensor
    ) -> Tensor:
        """Masks (N, S, S) in [0, 1] of images (N, 3, S, S) and their classes and areas (N,)."""
        lattice = _lattice(images.shape[-1], self.step, self.sigma, images.device)
        pyramid = self._pyramid(images)
        n = lattice.side**2
        zeros = torch.tensor([int(n * (1 - area)) for area in areas.tolist()])
        reference = (torch.arange(n) >= zeros[:, None]).to(images)
        cells = torch.ones(len(images), 1, lattice.cells, lattice.cells, device=images.device)
        velocity = torch.zeros_like(cells)
        met = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        weight = _AREA_WEIGHT
        for t in range(self.iterations):
            with torch.enable_grad():
                cells.requires_grad_()
                full = lattice.masks(cells)
                masks = lattice.crop(full)
                blurred = _blend(pyramid, masks)
                logits = logits_of(backbone, blurred.flip(3) if t % 2 == 0 else blurred)
                order = full.flatten(1).sort(dim=1, stable=True).values
                excess = (order - reference).square().mean(1)
                energy = weight * excess - backbone.target(logits, class_index)
                gradient, at_image = torch.autograd.grad(energy.sum(), (cells, blurred))
            met |= at_image.flatten(1).any(1)
            velocity = gradient if t == 0 else _MOMENTUM * velocity + (1 - _MOMENTUM) * gradient
            cells = (cells.detach() - _RATE * velocity).clamp(0, 1)
            weight *= _AREA_GROWTH
        return masks.detach() * met[:, None, None]

    def _pyramid(self, images: Tensor) -> Tensor:
        """Images (N, levels, 3, S, S), from the strongest blur to none; zeros lie around them."""
        sigmas = [self.max_blur * (1 - i / (self.levels - 1)) for i in range(self.levels)]
        blurs = [
            blur_matrix(images.shape[-1], sigma, math.ceil(_REACH * sigma), mirrored=False)
            for sigma in sigmas
        ]
        matrices = torch.stack(blurs).to(images.device)[:, None]
        return matrices @ images[:, None] @ matrices.mT


def _blend(pyramid: Tensor, masks: Tensor) -> Tensor:
    """Images (N, 3, S, S), each pixel between the two levels of blur that its mask names."""
    last = pyramid.shape[1] - 1
    level = masks[:, None, None] * last
    low = level.detach().floor().clamp_max(last - 1)
    index = low.long().expand(-1, -1, *pyramid.shape[2:])
    below, above = pyramid.gather(1, index), pyramid.gather(1, index + 1)
    return (below + (level - low) * (above - below))[:, 0]


class _Lattice(NamedTuple):
    """The cells of a mask and the kernel that spreads them."""

    kernel: Tensor  # (step, n * n, step, 1): of n * n cells around a pixel, by its place in a cell
    cells: int  # along each side of the parameters
    padding: int  # cells of zero around them
    side: int  # of the domain, in pixels
    margin: int  # of it on each side of the image
    size: int  # of the image

    def masks(self, cells: Tensor) -> Tensor:
        """Masks (N, side, side) of the domain from cells (N, 1, cells, cells)."""
        # one by one: with several threads a softmax's bits depend on the place in the batch
        return torch.cat([self._mask(one) for one in torch.split(cells, 1)])

    def _mask(self, cells: Tensor) -> Tensor:
        step, around = self.kernel.shape[0], math.isqrt(self.kernel.shape[1])
        near = F.unfold(cells, around, padding=self.padding)[:, :, None]
        blocks = self.cells + 2 * self.padding - around + 1
        # recomputed in the backward pass: kept, it would be the largest thing by far
        lines = [
            checkpoint(_smooth_max, near, line, use_reentrant=False, preserve_rng_state=False)
            for line in self.kernel
        ]
        pixels = torch.stack(lines, dim=1).view(-1, step, step, blocks, blocks)
        side = blocks * step
        masks: Tensor = pixels.permute(0, 3, 1, 4, 2).reshape(len(cells), side, side)
        return masks[:, : self.side, : self.side].clamp(0, 1)

    def crop(self, masks: Tensor) -> Tensor:
        """The part (N, size, size) of the masks that lies on the image."""
        inside = slice(self.margin, self.margin + self.size)
        return masks[:, inside, inside]


def _smooth_max(near: Tensor, kernel: Tensor) -> Tensor:
    """A line of pixels in every block (N, step, blocks) from the cells (N, n * n, 1, blocks)."""
    values = near * kernel
    return (values * F.softmax(_COLDNESS * values, dim=1)).sum(1)


def _lattice(size: int, step: int, sigma: float, device: torch.device) -> _Lattice:
    """The lattice of images of a size: pixels are in blocks of one cell, each with its phase."""
    padding, radius = 1 + math.ceil(2 * sigma / step), 1 + math.ceil(sigma / step)
    cells = math.ceil(size / step)
    side = (cells + 2 * padding - 2 * radius - 1) * step + 1
    centre = sigma + step * (torch.arange(2 * radius + 1) - padding)
    distance = torch.arange(step)[:, None] - centre
    square = distance[:, None, :, None].square() + distance[None, :, None, :].square()
    kernel = torch.exp(-2 * (square.sqrt() / sigma - 0.5).clamp_min(0).square())
    kernel = kernel.flatten(2).transpose(1, 2)[..., None].contiguous().to(device)
    return _Lattice(kernel, cells, padding, side, round(sigma), size)

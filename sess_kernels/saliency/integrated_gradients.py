r"""Integrated Gradients (Sundararajan et al., ICML 2017).

With the image x of several channels k, a baseline x' and the target y of class c,

    A_k(i, j) = (x - x')_k(i, j) * integral over a from 0 to 1 of
                d y_c / d x_k(i, j)  at  x' + a (x - x')
    L_c       = | sum over k of  A_k |

The A_k of all channels and positions add up to y_c(x) - y_c(x') (completeness), as far as the
quadrature of the integral is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.saliency.base import BaseMethod, Query
from sess_kernels.saliency.varied import summed_gradients

BASELINES = {"black": 0.0, "white": 255.0, "mean": None}
"""Pixel values of the baselines; the mean colour of the training images is no fixed value."""


class Quadrature(NamedTuple):
    """Points of the path in [0, 1] and the weight of each."""

    points: list[float]
    weights: list[float]


def gauss_legendre(steps: int) -> Quadrature:
    """Gauss-Legendre quadrature on [0, 1].

    Example:
        >>> points, weights = gauss_legendre(3)
        >>> round(sum(weight * point**4 for point, weight in zip(points, weights)), 9)
        0.2
    """
    points, weights = np.polynomial.legendre.leggauss(steps)
    return Quadrature(((points + 1) / 2).tolist(), (weights / 2).tolist())


def baseline_image(backbone: Backbone, name: str) -> Tensor:
    """Normalised colour (3, 1, 1) of a baseline of ``BASELINES``.

    Example:
        >>> from sess_kernels import load_backbone
        >>> baseline_image(load_backbone("lite0"), "black").flatten().tolist()
        [-0.9921875, -0.9921875, -0.9921875]
    """
    value = BASELINES[name]
    if value is None:
        return torch.zeros(3, 1, 1, device=backbone.device)
    return backbone.normalize(torch.full((3, 1, 1), value, device=backbone.device))


def attributions(
    backbone: Backbone, query: Query, baseline: Tensor, quadrature: Quadrature
) -> Iterator[Tensor]:
    """Integrated gradients (3, S, S) of each pair, signed, pair after pair.

    Args:
        backbone: The classifier.
        query: The pairs.
        baseline: (3, 1, 1), normalised.
        quadrature: Points and weights of the path from the baseline to the patch.
    """
    points = query.images.new_tensor(quadrature.points)

    def vary(images: Tensor, number: Tensor) -> Tensor:
        return baseline + points[number][:, None, None, None] * (images - baseline)

    sums = summed_gradients(backbone, query, vary, quadrature.weights)
    for patch, gradient in zip(query.patch.tolist(), sums, strict=True):
        yield (query.images[patch] - baseline) * gradient


@dataclass(frozen=True)
class IntegratedGradients(BaseMethod):
    """Integrated Gradients; takes ``steps`` forwards and backwards for each pair.

    Attributes:
        steps: Points of the Gauss-Legendre quadrature.
        baseline: ``"black"`` or ``"white"`` image, or ``"mean"``, the mean colour of the images
            that the network was trained on.

    Example:
        >>> from sess_kernels import load_backbone
        >>> images, pairs = torch.rand(1, 3, 224, 224), torch.tensor([0])
        >>> query = Query(images, torch.zeros(1, 0), pairs, torch.tensor([285]), batch_size=2)
        >>> IntegratedGradients(steps=2)(load_backbone("lite0"), query).shape
        torch.Size([1, 224, 224])
    """

    title = "Integrated Gradients"
    needs_features = False

    steps: int = 50
    baseline: str = "black"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1 but got {self.steps}")
        if self.baseline not in BASELINES:
            known = ", ".join(BASELINES)
            raise ValueError(f"baseline must be one of {known} but got {self.baseline!r}")

    def __call__(self, backbone: Backbone, query: Query) -> Tensor:
        """Maps (M, S, S) of the M pairs of the query, at least zero, not normalised."""
        baseline = baseline_image(backbone, self.baseline)
        found = attributions(backbone, query, baseline, gauss_legendre(self.steps))
        return torch.stack([attribution.sum(0).abs() for attribution in found])

r"""SmoothGrad (Smilkov et al., ICML workshop on visualization for deep learning, 2017).

The mean gradient over n noisy copies of the image x of several channels k,

    L_c(i, j) = max over k of  | 1/n sum over m of  d y_c / d x_k(i, j)  at  x + sigma e_m |

with standard normal noise e_m and sigma a share of the range of values of x.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.saliency.base import BaseMethod, Query
from sess_kernels.saliency.noise import gaussian_noise
from sess_kernels.saliency.varied import summed_gradients


@dataclass(frozen=True)
class SmoothGrad(BaseMethod):
    """SmoothGrad; takes ``n_samples`` forwards and backwards for each pair.

    Attributes:
        n_samples: Noisy copies of each patch. The paper sees little gain beyond 50; the 25 here are
            the default of its authors' program, as SESS averages over patches besides.
        noise_level: Standard deviation of the noise, as a share of the patch's range of values;
            the paper recommends 0.1 to 0.2.
        seed: Seed of the noise; copy m of every patch has the same noise.

    Example:
        >>> from sess_kernels import load_backbone
        >>> images, pairs = torch.rand(1, 3, 224, 224), torch.tensor([0])
        >>> query = Query(images, torch.zeros(1, 0), pairs, torch.tensor([285]), batch_size=2)
        >>> SmoothGrad(n_samples=2)(load_backbone("lite0"), query).shape
        torch.Size([1, 224, 224])
    """

    title = "SmoothGrad"
    needs_features = False

    n_samples: int = 25
    noise_level: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_samples < 1:
            raise ValueError(f"n_samples must be at least 1 but got {self.n_samples}")
        if not 0 <= self.noise_level < float("inf"):
            raise ValueError(f"noise_level must be at least 0 but got {self.noise_level}")

    def __call__(self, backbone: Backbone, query: Query) -> Tensor:
        """Maps (M, S, S) of the M pairs of the query, at least zero, not normalised."""
        shape = tuple(query.images.shape[1:])
        noise = torch.stack(gaussian_noise(self.n_samples, shape, self.seed)).to(query.images)

        def vary(images: Tensor, number: Tensor) -> Tensor:
            span = images.amax((1, 2, 3)) - images.amin((1, 2, 3))
            return images + (self.noise_level * span)[:, None, None, None] * noise[number]

        weights = [1 / self.n_samples] * self.n_samples
        sums = summed_gradients(backbone, query, vary, weights)
        return torch.stack([gradient.abs().amax(0) for gradient in sums])

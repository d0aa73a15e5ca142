r"""RISE (Petsiuk, Das and Saenko, "Randomized Input Sampling for Explanation", BMVC 2018).

With N random masks m_i in [0, 1], each pixel of mean p, the image x and the probability p_c,

    L_c = 1 / (N p)  sum_i  p_c( m_i x ) m_i

A mask is a grid of g x g cells, each one with probability p and zero otherwise. It is enlarged
bilinearly to (g + 1) x (g + 1) cells of ceil(S / g) pixels, out of which S x S pixels are cut at a
random place within the first cell. x is the normalised image, so that what is masked out has the
mean colour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.interpolation import resize_matrix
from sess_kernels.packing import fixed_batches
from sess_kernels.saliency.base import BaseMethod, Query
from sess_kernels.saliency.masking import logits_of

_ROUNDING = 1e-6  # of the scores: differences below are those of float32 arithmetic


@dataclass(frozen=True)
class RISE(BaseMethod):
    """RISE; works with any classifier, one that is not torch too (``BlackBox``).

    The masks are the same for every patch; the classes of a patch share its forwards. With few
    masks a map shows how often a pixel happened to be seen, also where the class is not; where no
    mask changes the score the map is zero.

    Attributes:
        n_masks: Masks, each one forward a patch.
        grid: Cells of a mask along each side.
        p: Probability that a cell is seen.
        seed: Seed of the masks.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> from sess_kernels import load_backbone
        >>> backbone, images = load_backbone("lite0"), torch.rand(1, 3, 224, 224)
        >>> zero, cat = torch.tensor([0]), torch.tensor([281])
        >>> query = Query(images, torch.zeros(1, 0), zero, cat, batch_size=4)
        >>> RISE(n_masks=8)(backbone, query).shape
        torch.Size([1, 224, 224])
    """

    title = "RISE"
    needs_features: ClassVar[bool] = False
    needs_network: ClassVar[bool] = False

    n_masks: int = 4000
    grid: int = 7
    p: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_masks", "grid"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1 but got {getattr(self, name)}")
        if not 0 < self.p < 1:
            raise ValueError(f"p must be between 0 and 1 but got {self.p}")

    def masks(self, rows: Tensor, size: int) -> Tensor:
        """Masks (n, size, size) of the mask numbers ``int64 (n,)``, on the CPU."""
        cells, shift = _drawn(self.seed, self.n_masks, self.grid, self.p)
        cell = math.ceil(size / self.grid)
        enlarge = resize_matrix(self.grid, (self.grid + 1) * cell).float()
        start = (shift[rows] * cell).long()[:, :, None] + torch.arange(size)
        down, across = enlarge[start[:, 0]], enlarge[start[:, 1]]
        return down @ cells[rows] @ across.mT

    def __call__(self, backbone: Backbone, query: Query) -> Tensor:
        """Maps (M, S, S), at least zero, not normalised."""
        device, size = query.images.device, query.images.shape[-1]
        shared = list(query.by_patch())
        maps = torch.zeros(len(query), size, size, device=device)
        low, high = maps.new_full((len(query),), torch.inf), maps.new_zeros(len(query))
        left = self.n_masks
        for rows in fixed_batches(self.n_masks, query.batch_size):
            masks = self.masks(rows, size).to(device)
            seen = masks.flatten(1).T
            fresh = torch.arange(len(rows), device=device) < left
            left -= len(rows)
            for patch, pairs in shared:
                logits = logits_of(backbone, query.images[patch] * masks[:, None])
                scores = backbone.scores(logits)
                for pair in pairs.tolist():  # one by one: a product's bits depend on its size
                    wanted = scores[:, int(query.class_index[pair])]
                    low[pair] = torch.minimum(low[pair], wanted[fresh].min())
                    high[pair] = torch.maximum(high[pair], wanted[fresh].max())
                    maps[pair] += torch.mv(seen, wanted * fresh).view(size, size)
        maps[high - low <= _ROUNDING * high] = 0  # what is left is where the masks happen to lie
        return maps / (self.n_masks * self.p)


@lru_cache(maxsize=4)
def _drawn(seed: int, n_masks: int, grid: int, p: float) -> tuple[Tensor, Tensor]:
    """Cells (n_masks, grid, grid) of zeros and ones, and shifts (n_masks, 2) in [0, 1) cells.

    All of them at once, so that a mask does not depend on what it was drawn with.
    """
    generator = torch.Generator().manual_seed(seed)
    cells = (torch.rand(n_masks, grid, grid, generator=generator) < p).float()
    return cells, torch.rand(n_masks, 2, generator=generator)

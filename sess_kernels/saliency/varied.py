"""Gradients summed over varied copies of a patch: noisy ones, or the points of a path."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.packing import fixed_batches
from sess_kernels.saliency.base import Query, image_gradient

Vary = Callable[[Tensor, Tensor], Tensor]
"""Images (N, 3, S, S) and the number ``int64 (N,)`` of each copy -> the copies (N, 3, S, S)."""


def summed_gradients(
    backbone: Backbone, query: Query, vary: Vary, weights: list[float]
) -> Iterator[Tensor]:
    """Weighted sum of the gradients at the copies of each pair's patch, pair after pair.

    Copies of several pairs share device batches. They are added one by one: where a batch ends
    then leaves no trace in the sum.

    Args:
        backbone: The classifier.
        query: The pairs.
        vary: Makes the copies.
        weights: One for each copy.

    Yields:
        (3, S, S) for each pair.

    Example:
        >>> from sess_kernels import load_backbone
        >>> images, pairs = torch.rand(1, 3, 224, 224), torch.tensor([0])
        >>> query = Query(images, torch.zeros(1, 0), pairs, torch.tensor([7]), batch_size=2)
        >>> twice = summed_gradients(load_backbone("lite0"), query, lambda x, _: x, [0.5, 0.5])
        >>> next(twice).shape
        torch.Size([3, 224, 224])
    """
    n_copies, size, device = len(weights), query.batch_size, query.images.device
    total = len(query) * n_copies
    summed = query.images.new_zeros(query.images.shape[1:])
    for first, batch in zip(range(0, total, size), fixed_batches(total, size), strict=True):
        pairs, numbers = batch // n_copies, batch % n_copies
        images = vary(query.images[query.patch[pairs].to(device)], numbers.to(device))
        images = images.contiguous(memory_format=torch.channels_last)
        gradients, _ = image_gradient(backbone, images, query.class_index[pairs].to(device))
        for gradient, number in zip(gradients[: total - first], numbers.tolist(), strict=False):
            summed.add_(gradient, alpha=weights[number])
            if number == n_copies - 1:
                yield summed
                summed = torch.zeros_like(summed)

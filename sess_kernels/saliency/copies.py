"""Passes of changed copies of patches, which the classes of a patch share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sess_kernels.saliency.base import Query


class Part(NamedTuple):
    """A device batch of pairs, all of them of one device batch of patches.

    Attributes:
        pairs: (n,) positions in the query; n is at most the batch size.
        rows: (batch_size,) the row of each pair's patch in the batch of patches, filled up.
        class_index: (batch_size,) the class of each pair, filled up.
    """

    pairs: Tensor
    rows: Tensor
    class_index: Tensor


def patch_batches(query: Query) -> Iterator[tuple[Tensor, list[Part]]]:
    """Each patch of the query once, in device batches, with the pairs that ask for it.

    Yields:
        Patches ``int64 (batch_size,)``, filled up with the last one, and their pairs.

    Example:
        >>> none = torch.zeros(3, 0)
        >>> query = Query(none, none, torch.tensor([2, 0, 2]), torch.tensor([7, 7, 8]), 2)
        >>> [(patches, parts)] = patch_batches(query)
        >>> patches.tolist(), [(part.pairs.tolist(), part.rows.tolist()) for part in parts]
        ([0, 2], [([0, 1], [1, 0]), ([2], [1, 1])])
    """
    size, device = query.batch_size, query.features.device
    patches, place = torch.unique(query.patch, return_inverse=True)
    steps = torch.arange(size)
    for start in range(0, len(patches), size):
        asking = ((place >= start) & (place < start + size)).nonzero().flatten()
        parts = []
        for pairs in torch.split(asking, size):
            filled = pairs[steps.clamp_max(len(pairs) - 1)]
            rows = (place[filled] - start).to(device)
            parts.append(Part(pairs.to(device), rows, query.class_index[filled].to(device)))
        yield patches[(start + steps).clamp_max(len(patches) - 1)].to(device), parts

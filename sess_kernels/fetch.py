"""Copies to and from a device that the CPU does not wait for until it needs them."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device.

    On CUDA it goes through pinned memory on a stream of its own, beside what is still to run there;
    only what is launched after this call waits for it.

    Example:
        >>> sent(torch.ones(2), torch.device("cpu"))
        tensor([1., 1.])
    """
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    copies, now = _copies(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(copies):
        found = tensor.pin_memory().to(device, non_blocking=True)
    now.wait_stream(copies)
    found.record_stream(now)  # its memory belongs to the other stream, and must outlive this use
    return found


@lru_cache
def _copies(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class Fetched:
    """A tensor on its way to the CPU.

    On CUDA the copy to pinned memory follows the work that was launched before it, and waiting for
    it does not wait for what is launched after it.

    Example:
        >>> Fetched(torch.ones(2)).get()
        tensor([1., 1.])
    """

    def __init__(self, tensor: Tensor) -> None:
        self._there: torch.cuda.Event | None = None
        self._tensor = tensor
        if tensor.is_cuda:
            self._tensor = torch.empty_like(tensor, device="cpu", pin_memory=True)
            self._tensor.copy_(tensor, non_blocking=True)
            self._there = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._there.record(torch.cuda.current_stream(tensor.device))

    def get(self) -> Tensor:
        """The tensor on the CPU, once it is there."""
        if self._there is not None:
            self._there.synchronize()
        return self._tensor

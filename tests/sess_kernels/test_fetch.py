"""Copies to a device that nothing waits for."""

import torch

from sess_kernels.fetch import Fetched, sent


def test_what_is_sent_and_fetched_is_whole_while_memory_is_taken_again(device):
    tensors = [torch.full((3, 400, 500), number, dtype=torch.uint8) for number in range(40)]
    there = torch.device(device)
    found = [Fetched(sent(tensor, there).sum(dtype=torch.long)) for tensor in tensors]
    assert [int(one.get()) for one in found] == [600_000 * number for number in range(40)]


def test_what_is_there_already_is_not_copied(device):
    tensor = torch.ones(2, device=device)
    assert sent(tensor, tensor.device).data_ptr() == tensor.data_ptr()

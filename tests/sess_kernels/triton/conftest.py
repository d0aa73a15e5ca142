"""Fixtures: the kernels on the CPU by Triton's interpreter, and on CUDA as they are."""

import sys

import pytest
import torch

pytest.importorskip("triton")  # and before the interpreter is asked for, which would be for good


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request, monkeypatch):
    """A device that the kernels run on during a test."""
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        yield torch.device("cuda", 0)
        return
    # whether a kernel is interpreted is decided where its file is imported
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr("sess_kernels.triton.fusion.TILE", (32, 64))  # a tile takes long
    monkeypatch.delitem(sys.modules, "sess_kernels.triton.kernel", raising=False)
    yield torch.device("cpu")
    sys.modules.pop("sess_kernels.triton.kernel", None)

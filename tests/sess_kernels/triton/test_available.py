"""Where the kernels are used, and what happens where they cannot be built."""

import subprocess
import sys
import warnings

import pytest
import torch

from sess_kernels import explain
from sess_kernels.triton import _builds, available, fusion

_CUDA = torch.device("cuda", 63)  # there is none, and nothing asks for it


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    _builds.cache_clear()
    yield
    _builds.cache_clear()


def test_where_it_builds_it_is_asked_once(monkeypatch):
    asked = []
    monkeypatch.setattr(fusion, "probe", asked.append)
    assert available(_CUDA)
    assert explain.in_one_launch(_CUDA)
    assert asked == [_CUDA]


@pytest.mark.parametrize(
    "error", [RuntimeError("no gcc\nin PATH"), ImportError("no triton"), OSError()]
)
def test_where_it_fails_torch_fuses_from_then_on(monkeypatch, error):
    def fails(device):
        raise error

    monkeypatch.setattr(fusion, "probe", fails)
    with pytest.warns(UserWarning, match="kernel of fusion cannot be built for cuda:63") as told:
        assert not available(_CUDA)
    assert len(told) == 1
    message = str(told[0].message)
    assert type(error).__name__ in message
    assert "\n" not in message
    monkeypatch.setattr(fusion, "probe", lambda device: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not available(_CUDA)
        assert not explain.in_one_launch(_CUDA)


def test_a_full_device_is_no_reason(monkeypatch):
    def full(device):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(fusion, "probe", full)
    with pytest.raises(torch.OutOfMemoryError):
        available(_CUDA)
    monkeypatch.setattr(fusion, "probe", lambda device: None)
    assert available(_CUDA)


def test_a_wrong_result_is_a_failure(monkeypatch):
    monkeypatch.setattr(fusion, "fuse_all", lambda jobs, config: [torch.zeros(1, 1)])
    with pytest.raises(RuntimeError, match=r"the kernel fuses 1 to 0\.0"):
        fusion.probe(torch.device("cpu"))


def test_on_a_cpu_torch_fuses_unless_it_is_interpreted(monkeypatch):
    cpu = torch.device("cpu")
    assert not available(cpu)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert available(cpu)
    assert not available(_CUDA)
    assert not explain.in_one_launch(cpu)


def test_a_cpu_imports_no_triton():
    script = """
import sys
import numpy as np
from sess_kernels import SESS, BlackBox, SESSConfig
box = BlackBox(lambda images: images.mean((2, 3)), name="box")
image = np.arange(3 * 30 * 40, dtype=np.uint8).reshape(30, 40, 3)
explain = SESS(box, lambda images, _: images[:, 0], SESSConfig(scales=2))
[[found]] = explain([image], [[1]])
assert found.map.shape == (30, 40) and found.map.any()
print("triton" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"

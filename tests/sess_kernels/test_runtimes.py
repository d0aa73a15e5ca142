"""Other runtimes of the forwards: the same numbers but for rounding, and bits that stay."""

import itertools
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from skimage import data
from torch import nn

from sess_kernels import SESS, Backbone, BlackBox, Preprocessing, SESSConfig, SessError
from sess_kernels.backbones.runtimes import with_runtime

HAS_COMPILER = any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++")))
needs_compiler = pytest.mark.skipif(not HAS_COMPILER, reason="torch.compile needs a C++ compiler")
COMPILE = pytest.param("compile", marks=needs_compiler)
OTHERS = (COMPILE, "openvino")


def _small():
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
    )
    return Backbone(model, name="small", preprocessing=Preprocessing(input_size=32))


@pytest.mark.parametrize("runtime", OTHERS)
def test_features_and_logits_are_those_of_torch_but_for_rounding(lite0, runtime):
    patches = torch.randn(4, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    patches = patches.contiguous(memory_format=torch.channels_last)
    found = with_runtime(lite0, runtime, batch_size=4)
    calls = []
    fixed = found.fixed_forward
    found.fixed_forward = fixed._replace(call=lambda given: calls.append(1) or fixed.call(given))
    with torch.no_grad():
        for one, other in zip(found(patches), lite0(patches), strict=True):
            assert one.shape == other.shape
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
        again = [part.clone() for part in found(patches)]
        found(torch.randn_like(patches))
        assert all(map(torch.equal, again, found(patches)))
        assert len(calls) == 4
        assert torch.equal(found(patches[:1])[1], lite0(patches[:1])[1])  # another batch: torch
    assert len(calls) == 4
    assert lite0.fixed_forward is None


@pytest.mark.parametrize("runtime", OTHERS)
def test_what_was_given_is_not_changed_by_the_next_batch(runtime):
    found = with_runtime(_small(), runtime, batch_size=2)
    patches = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        features, logits = found(patches)
        kept = features.clone(), logits.clone()
        found(torch.rand(2, 3, 32, 32))
    assert torch.equal(features, kept[0])
    assert torch.equal(logits, kept[1])


@pytest.mark.parametrize("runtime", OTHERS)
def test_gradients_go_through_torch(runtime):
    backbone = _small()
    found = with_runtime(backbone, runtime, batch_size=2)
    gradients = []
    for one in (backbone, found):
        leaf = torch.ones(2, 3, 32, 32, requires_grad=True)
        gradients.append(torch.autograd.grad(one(leaf)[1][:, 0].sum(), leaf)[0])
    assert torch.equal(*gradients)
    assert gradients[0].abs().sum() > 0


@pytest.mark.parametrize("method", ["gradcam", "guided-backprop", "groupcam"])
@pytest.mark.parametrize("search", [False, True])
@pytest.mark.parametrize("runtime", OTHERS)
def test_maps_have_the_same_bits_however_they_are_made(draw, runtime, search, method):
    settings = {"scales": 5, "scale_increment": 16, "pre_filter_ratio": 0.7}
    config = SESSConfig(**settings, search=search)
    images, classes = [draw(40, 56, 1), draw(33, 20, 2), draw(64, 64, 3)], [[1, 2], [0], None]
    explain = SESS(_small(), method, config, 4, runtime=runtime)
    whole = explain(images, classes)
    halves = explain.explain_patches(images, explain.score_patches(images, classes))
    alone = [explain([image], [some])[0] for image, some in zip(images, classes, strict=True)]
    eager = SESS(_small(), method, config, 4)(images, classes)
    parts = (itertools.chain(*some) for some in (whole, halves, alone, eager))
    for one, half, single, other in zip(*parts, strict=True):
        assert torch.equal(one.map, half.map)
        assert torch.equal(one.map, single.map)
        assert one.score == half.score == single.score
        assert one.score == pytest.approx(other.score, abs=1e-5)


@pytest.mark.slow
def test_openvino_gives_the_map_of_torch_on_real_weights(lite0):
    config = SESSConfig(scales=3, pre_filter_ratio=0.5)
    maps = [
        SESS(lite0, config=config, runtime=runtime)([data.chelsea()], [[285]])[0][0].map
        for runtime in ("torch", "openvino")
    ]
    torch.testing.assert_close(*maps, rtol=0, atol=2e-4)


@needs_compiler
def test_reduced_precision_is_compiled_too(draw):
    config = SESSConfig(scales=5, scale_increment=16, pre_filter_ratio=0.7)
    explain = SESS(_small(), config=config, batch_size=4, precision="fast", runtime="compile")
    first = explain.score._first
    assert first.fixed_forward.dtype == torch.bfloat16
    assert next(first.parameters()).dtype == torch.bfloat16
    assert next(explain.backbone.parameters()).dtype == torch.float32
    whole = SESS(_small(), config=config, batch_size=4, runtime="compile")
    one, other = (some([draw(40, 56)], [[1]])[0][0] for some in (explain, whole))
    assert torch.equal(one.map, other.map)


def test_what_cannot_be_is_told(monkeypatch):
    with pytest.raises(SessError, match=r"unknown runtime 'onnx'; .*openvino"):
        SESS(_small(), runtime="onnx")
    with pytest.raises(SessError, match="openvino computes in fp32 but precision is bf16"):
        SESS(_small(), precision="bf16", runtime="openvino")
    box = BlackBox(lambda images: np.zeros((len(images), 2), np.float32), name="box")
    with pytest.raises(SessError, match="box is a black box; its runtime is its own"):
        SESS(box, "rise", runtime="compile")
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("sess_kernels.backbones.runtimes.find_spec", lambda name: None)
    with pytest.raises(SessError, match=r'pip install "sess-pipeline\[openvino\]"'):
        SESS(_small(), runtime="openvino")


class _Branch(nn.Module):
    """What it does depends on values: no one program."""

    def forward(self, images):
        return images if images.sum() > 0 else -images


class _Unseen(nn.Module):
    """What it does a tracer does not see."""

    def forward(self, images):
        return torch.from_numpy(3 * np.sort(images.detach().numpy(), axis=1))


@pytest.mark.parametrize(("runtime", "odd"), [("compile", _Branch), ("openvino", _Unseen)])
def test_a_network_that_a_runtime_cannot_run_is_named(runtime, odd):
    model = nn.Sequential(odd(), nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.append(nn.Linear(4, 2))
    how = Preprocessing(input_size=16)
    backbone = Backbone(model, name="odd", preprocessing=how, leaves=(odd,))
    with pytest.raises(SessError, match=f"runtime {runtime} cannot run odd: .*; use runtime torch"):
        with_runtime(backbone, runtime, batch_size=2)

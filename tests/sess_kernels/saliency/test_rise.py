import math

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from sess_kernels import SESS, BlackBox, SESSConfig
from sess_kernels.backbones import Backbone, Preprocessing
from sess_kernels.fuse import rescale
from sess_kernels.saliency import Query
from sess_kernels.saliency.rise import RISE, _drawn


def _query(images, pairs, batch_size=4):
    patch, classes = torch.tensor(pairs).T
    return Query(images, torch.zeros(len(images), 0), patch, classes, batch_size)


class _LogOdds(nn.Module):
    """TorchRay takes the sigmoid of what a model gives; this makes it the probability."""

    def __init__(self, model):
        super().__init__()
        self.model, self.seen = model, []

    def forward(self, images):
        self.seen.append(images)
        probability = self.model(images).double().softmax(1)
        return torch.logit(probability).float()


@pytest.mark.slow
def test_parity_with_torchray(lite0, plain_lite0, photos, agree):
    rise = pytest.importorskip("torchray.attribution.rise").rise
    n_masks = 24
    recorder = _LogOdds(lambda images: torch.zeros(len(images), 2))
    rise(recorder, torch.ones(1, 3, 224, 224), num_masks=n_masks, batch_size=8, seed=5)
    masks = torch.cat(recorder.seen[1:])[:, 0]  # the first call has no mask

    class Given(RISE):
        def masks(self, rows, size):
            return masks[rows]

    pairs = [(0, 281), (1, 967)]
    with torch.no_grad():
        found = Given(n_masks=n_masks)(lite0, _query(photos, pairs))
    for map_, (patch, index) in zip(found, pairs, strict=True):
        reference = _LogOdds(plain_lite0)
        expected = rise(
            reference,
            photos[patch : patch + 1],
            num_masks=n_masks,
            batch_size=8,
            seed=5,
        )[0, index]
        torch.testing.assert_close(map_ * 0.5, expected, rtol=1e-3, atol=1e-5)
        agree(rescale(map_), rescale(expected))


def test_masks_are_enlarged_grids_shifted_by_less_than_a_cell():
    masks = RISE(n_masks=300, p=0.3).masks(torch.arange(300), 50)
    assert masks.min() >= 0
    assert masks.max() <= 1 + 1e-6
    assert masks.mean((1, 2)).mean().item() == pytest.approx(0.3, abs=0.02)
    assert masks.mean(0).std() < 0.05
    cells, shift = _drawn(0, 300, 7, 0.3)
    large = F.interpolate(cells[:, None], (64, 64), mode="bilinear")[:, 0]
    for mask, whole, (down, across) in zip(masks, large, (shift * 8).long().tolist(), strict=True):
        assert max(down, across) < math.ceil(50 / 7)
        cut = whole[down : down + 50, across : across + 50]
        torch.testing.assert_close(mask, cut, rtol=0, atol=1e-6)


def test_a_mask_depends_on_seed_and_number_alone():
    method = RISE(n_masks=20)
    every = method.masks(torch.arange(20), 224)
    assert torch.equal(method.masks(torch.tensor([7, 3]), 224), every[[7, 3]])
    assert not torch.equal(RISE(n_masks=20, seed=1).masks(torch.arange(20), 224), every)
    assert len(torch.unique(every.flatten(1), dim=0)) == 20


def test_a_map_does_not_depend_on_its_neighbours(lite0, photos):
    method, pairs = RISE(n_masks=6), [(0, 281), (1, 967), (0, 3)]
    with torch.no_grad():
        together = method(lite0, _query(photos, pairs))
        alone = [method(lite0, _query(photos, [pair]))[0] for pair in pairs]
    for map_, other in zip(together, alone, strict=True):
        assert torch.equal(map_, other)
    assert not torch.equal(together[0], together[2])


def test_the_sum_by_hand_in_full_batches_that_classes_share():
    seen = []

    def classify(images):
        seen.append(len(images))
        red = images[:, 0].mean((1, 2))
        return np.stack([red, 1 - red], axis=1)

    box = BlackBox(classify, gives="probabilities", preprocessing=Preprocessing(30))
    seen.clear()
    image = torch.rand(1, 3, 30, 30, generator=torch.Generator().manual_seed(0))
    method = RISE(n_masks=5, grid=3, p=0.4)
    found = method(box, _query(image, [(0, 0), (0, 1)]))
    masks = method.masks(torch.arange(5), 30)
    red = (masks * image[0, 0]).mean((1, 2))
    for map_, score in zip(found, (red, 1 - red), strict=True):
        expected = (score[:, None, None] * masks).sum(0) / (5 * 0.4)
        torch.testing.assert_close(map_, expected, rtol=1e-4, atol=1e-6)
    assert seen == [4, 4]


def test_an_impossible_class_gives_zeros():
    box = BlackBox(
        lambda images: np.tile([1.0, 0.0], (len(images), 1)),
        gives="probabilities",
        preprocessing=Preprocessing(30),
    )
    found = RISE(n_masks=5)(box, _query(torch.zeros(1, 3, 30, 30), [(0, 1)]))
    assert torch.equal(found, torch.zeros(1, 30, 30))


def _network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)).eval()


def _session(network):
    """The same network as an ONNX Runtime session."""
    weights = {name.replace(".", "_"): w for name, w in network.state_dict().items()}
    nodes = [
        helper.make_node("Conv", ["x", "0_weight", "0_bias"], ["a"], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "2_weight", "2_bias"], ["c"], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "6_weight", "6_bias"], ["y"], transB=1),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 64, 64])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])
    constants = [numpy_helper.from_array(w.numpy(), name) for name, w in weights.items()]
    graph = helper.make_graph(nodes, "small", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def test_parity_of_an_onnx_runtime_session_with_torch(chelsea, agree):
    network, size = _network(), Preprocessing(64)
    network[-1].weight.data *= 30  # makes it sure of itself
    session = _session(network)
    box = BlackBox(lambda x: session.run(None, {"x": x})[0], preprocessing=size)
    plain = Backbone(network, name="small", preprocessing=size)
    config = SESSConfig(scales=2, scale_increment=32)
    options = {"n_masks": 40, "grid": 4}
    maps = [
        SESS(backbone, "rise", config, method_options=options)([chelsea], [[0, 2]])[0]
        for backbone in (box, plain)
    ]
    for found, expected in zip(*maps, strict=True):
        assert found.map.std() > 0.05
        agree(found.map, expected.map)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_masks": 0}, "n_masks must be at least 1 but got 0"),
        ({"grid": 0}, "grid must be at least 1 but got 0"),
        ({"p": 1.0}, r"p must be between 0 and 1 but got 1\.0"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        RISE(**options)


def test_nothing_stays_behind(lite0, photos):
    with torch.no_grad():
        map_ = RISE(n_masks=2)(lite0, _query(photos, [(0, 281)]))
    assert map_.grad_fn is None
    assert all(parameter.grad is None for parameter in lite0.parameters())
    assert not any(module._forward_hooks for module in lite0.modules())

import numpy as np
import pytest
import torch
import torchvision.models as tvm
from torch import nn

from sess_kernels import Backbone, SessError, load_backbone
from sess_kernels.fuse import min_max
from sess_kernels.saliency.excitation_backprop import ExcitationBackprop


@pytest.fixture(scope="module")
def torchray():
    return pytest.importorskip("torchray.attribution.excitation_backprop")


@pytest.fixture(scope="module")
def vgg16():
    """Random weights; without a gain the last activations are of the bias alone."""
    torch.manual_seed(0)
    return tvm.vgg16(weights=None, num_classes=10).eval().requires_grad_(False)


def _reference(torchray, model, images, classes, layer):
    return torchray.excitation_backprop(
        model, images.clone().requires_grad_(), classes, saliency_layer=layer
    )[:, 0].detach()


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["features.29", "features.23"])
def test_parity_with_torchray_on_vgg16(torchray, vgg16, photos, layer, agree):
    images, classes = photos[:2], torch.tensor([3, 7])
    backbone = Backbone(vgg16, name="vgg16", target_layer=layer)
    found = ExcitationBackprop().maps(backbone, backbone.body(images), classes)
    expected = _reference(torchray, vgg16, images, classes, layer)
    agree(min_max(found, 224), min_max(expected, 224))


def test_parity_with_torchray_on_lite0(torchray, lite0, plain_lite0, photos, photo_classes, agree):
    found = ExcitationBackprop().maps(lite0, lite0.body(photos), photo_classes)
    expected = _reference(torchray, plain_lite0, photos, photo_classes, "bn2")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    agree(min_max(found, 224), min_max(expected, 224))


class _Residual(nn.Module):
    """A head of everything with a rule of its own, small enough for matrices."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU())
        self.conv = nn.Conv2d(4, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU6(inplace=True)
        self.back = nn.Conv2d(6, 4, 1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.Sigmoid())
        self.pool = nn.AvgPool2d(2)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = self.stem(x)
        y = self.back(self.act(self.norm(self.conv(x))))
        x = torch.relu(x + y * self.gate(y))
        return self.fc(self.pool(x).mean((2, 3)))


@pytest.fixture(scope="module")
def residual():
    torch.manual_seed(1)
    model = _Residual().eval().requires_grad_(False)
    model.norm.weight.data = torch.randn(6)  # of both signs
    model.norm.running_mean.data = torch.randn(6) / 4
    model.norm.running_var.data = torch.rand(6) + 0.1
    return model


def _matrix(layer, shape):
    """The weights of a linear layer, without its bias, as a dense matrix."""
    basis = torch.eye(int(np.prod(shape))).view(-1, *shape)
    return (layer(basis) - layer(torch.zeros(1, *shape))).flatten(1).T.numpy()


def _down(p, x, matrix):
    """P(j) = sum_i P(i) x_j+ w_ij+ / sum_j' x_j'+ w_ij'+."""
    z = np.maximum(matrix, 0) * np.maximum(x, 0)
    total = z.sum(1, keepdims=True)
    return p @ np.divide(z, total, out=np.zeros_like(z), where=total > 0)


def test_parity_with_explicit_matrices_on_a_residual_head(residual):
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([0, 4, 2])
    backbone = Backbone(residual, name="residual", target_layer="stem")
    ExcitationBackprop().check(backbone)
    found = ExcitationBackprop().maps(backbone, backbone.body(images), classes)

    features = residual.stem(images)
    hidden = residual.act(residual.norm(residual.conv(features)))
    back = residual.back(hidden)
    gated = back * residual.gate(back)
    summed = torch.relu(features + gated)
    pooled = residual.pool(summed)
    normed = nn.Sequential(residual.conv, residual.norm)
    chain = [(residual.fc, pooled.mean((2, 3)))]
    chain += [(nn.AdaptiveAvgPool2d(1), pooled), (residual.pool, summed)]
    for row, index in enumerate(classes):
        p = np.eye(5)[index]
        for layer, x in chain:
            p = _down(p, x[row].flatten().numpy(), _matrix(layer, x.shape[1:]))
        straight, branch = (t[row].flatten().clamp_min(0).numpy() for t in (features, gated))
        total = np.where(straight + branch > 0, straight + branch, 1)
        branch_p = p * branch / total
        for layer, x in ((residual.back, hidden), (normed, features)):
            branch_p = _down(branch_p, x[row].flatten().numpy(), _matrix(layer, x.shape[1:]))
        expected = (p * straight / total + branch_p).reshape(features.shape[1:]).sum(0)
        np.testing.assert_allclose(found[row].numpy(), expected, rtol=1e-4, atol=1e-6)
    assert found.amin() >= 0


def test_the_probabilities_add_up_to_one(photos, photo_classes):
    backbone = load_backbone("lite0", target_layer="blocks.6.0.bn2")
    ExcitationBackprop().check(backbone)
    found = ExcitationBackprop().maps(backbone, backbone.body(photos[:2]), photo_classes[:2])
    assert found.amin() >= 0
    torch.testing.assert_close(found.sum((1, 2)), torch.ones(2), rtol=1e-3, atol=0)


def test_a_group_starts_at_its_members(photos):
    plain, cats = load_backbone("lite0"), [281, 282, 285]
    features, logits = plain(photos[:1])
    single = ExcitationBackprop().maps(plain, features.expand(3, -1, -1, -1), torch.tensor(cats))
    shares = logits[0, cats].softmax(0)
    grouped = load_backbone("lite0").group_classes({"cat": cats})
    found = ExcitationBackprop().maps(grouped, features, torch.tensor([0]))
    torch.testing.assert_close(found[0], torch.tensordot(shares, single, 1), rtol=1e-4, atol=1e-6)


def test_gated_and_dense_heads_have_rules():
    torch.manual_seed(0)
    for name, layer in (("mobilenet_v3_small", "features.10"), ("densenet121", "features.pool0")):
        backbone = Backbone(tvm.get_model(name, weights=None), name=name, target_layer=layer)
        ExcitationBackprop().check(backbone)
        features = torch.rand(1, *backbone.feature_shape)
        found = ExcitationBackprop().maps(backbone, features, torch.tensor([3]))
        assert found.amin() >= 0
        assert 0 < found.sum() <= 1.001


class _Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 8, stride=8), nn.Linear(4, 5)

    def forward(self, x):
        tokens = self.conv(x).flatten(2).transpose(1, 2)
        mixed = (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens
        return self.fc(mixed.mean(1))


def test_attention_is_refused():
    backbone = Backbone(_Attention(), name="attention", target_layer="conv")
    with pytest.raises(
        SessError, match=r"no rule for '.*matmul.*' in the head of attention behind"
    ):
        ExcitationBackprop().check(backbone)


def test_the_mode_is_left(lite0, photos):
    ExcitationBackprop().maps(lite0, lite0.body(photos[:1]), torch.tensor([3]))
    assert torch.overrides._len_torch_function_stack() == 0

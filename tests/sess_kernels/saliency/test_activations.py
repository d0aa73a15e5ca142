import pytest
import timm.layers.activations as own
import timm.layers.activations_me as own_me
import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d
from torch import nn

from sess_kernels.backbones import Backbone
from sess_kernels.saliency.activations import guide


def _spelled_gelu(x):
    return 0.5 * x * (1 + torch.tanh(0.79788456 * (x + 0.044715 * x**3)))


_ACTIVATIONS = [
    nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.ReLU6(inplace=True), nn.Hardtanh(0, 2),
    nn.LeakyReLU(0.1), nn.LeakyReLU(0.1, inplace=True), nn.LeakyReLU(-0.3), nn.PReLU(),
    nn.PReLU(init=-0.5), nn.RReLU().eval(), nn.ELU(), nn.ELU(inplace=True), nn.SELU(), nn.CELU(),
    nn.CELU(inplace=True), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.SiLU(inplace=True), nn.Mish(),
    nn.Hardswish(), nn.Hardswish(inplace=True), nn.Softplus(), nn.Threshold(0.0, 0.0),
    F.relu, F.relu_, torch.relu, torch.relu_, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, F.gelu,
    F.silu, F.mish, F.hardswish, F.softplus, lambda x: x.relu(), lambda x: x.relu_(),
    lambda x: x.clamp(min=0), lambda x: x.clamp_min(0), lambda x: x.clamp(0, 1),
    own.Swish(), own.Swish(inplace=True), own.Mish(), own.HardSwish(), own.HardSwish(inplace=True),
    own.HardMish(), own.PReLU(), own.GELU(), own.GELUTanh(), own.QuickGELU(),
    own_me.SwishMe(), own_me.MishMe(), own_me.HardSwishMe(), own_me.HardMishMe(),
    lambda x: x * torch.sigmoid(x), lambda x: torch.sigmoid(x) * x, _spelled_gelu,
    lambda x: x * 0.5 * (1 + torch.erf(x / 1.41421356)),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(_ACTIVATIONS)))
def test_rule_of_each_activation(number):
    activation = _ACTIVATIONS[number]
    if isinstance(activation, nn.Module):
        activation.requires_grad_(False)
    values = torch.linspace(-4, 8, 26).repeat(2)
    incoming = torch.cat([torch.full((26,), 3.0), torch.full((26,), -2.0)])
    x = values.clone().requires_grad_()
    output = activation(x.clone())
    derivative = torch.autograd.grad(output.sum(), x, retain_graph=True)[0]
    expected = derivative * incoming * (incoming > 0) * (output > 0)
    assert len(guide((output * incoming).sum())) == 1
    [found] = torch.autograd.grad((output * incoming).sum(), x)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "function",
    [
        torch.sigmoid, torch.tanh, F.hardsigmoid, F.hardtanh, F.logsigmoid, F.glu,
        lambda x: x.softmax(0), lambda x: x * x, lambda x: x.clamp(min=1e-6),
        lambda x: x * torch.sigmoid(x.mean()), lambda x: x[:13] * torch.sigmoid(x[13:]),
    ],
)  # fmt: skip
def test_gates_and_bounded_functions_are_not_guided(function):
    x = torch.linspace(-4, 8, 26, requires_grad=True)
    assert guide(function(x.clone()).sum()) == []


class _Hidden(nn.Module):
    """Activations that torch.fx does not see: inside modules of torch and timm."""

    def __init__(self):
        super().__init__()
        self.norm = BatchNormAct2d(3, act_layer=own.Swish)  # no convolution before it to fold into
        self.conv = nn.Conv2d(3, 8, 4, stride=4)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        tokens = self.conv(self.norm(x)).flatten(2).transpose(1, 2)
        return self.head(self.layer(tokens).mean(1))


def test_activations_inside_leaves_are_guided():
    torch.manual_seed(0)
    leaves = (BatchNormAct2d, nn.TransformerEncoderLayer)
    backbone = Backbone(_Hidden(), name="hidden", target_layer="conv", leaves=leaves)
    logits = backbone(torch.rand(1, 3, 16, 16, requires_grad=True))[1]
    assert sorted(guide(logits)) == ["Gelu", "Mul"]

import gc
from collections import Counter

import captum.attr
import pytest
import torch
import torchvision.models as tvm
from torch import nn

from sess_kernels import load_backbone
from sess_kernels.backbones import Backbone, Preprocessing
from sess_kernels.fuse import min_max
from sess_kernels.saliency.activations import _Guide, guide
from sess_kernels.saliency.base import Query
from sess_kernels.saliency.guided_backprop import GuidedBackprop


def _query(images, patch, classes, batch_size=2):
    features = torch.zeros(len(images), 0)
    return Query(images, features, torch.tensor(patch), torch.tensor(classes), batch_size)


def _scaled(maps):
    return min_max(maps, maps.shape[1])


def _random_model(name):
    torch.manual_seed(0)
    model = tvm.get_model(name, weights=None).eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.Linear):  # torchvision's are so small that logits are all alike
            nn.init.kaiming_normal_(module.weight)
    return model


class _ReLU6(nn.ReLU):
    """Captum guides what is a nn.ReLU."""

    def forward(self, x):
        return x.clamp(0, 6)


def test_parity_with_captum_on_lite0(exact_lite0, plain_lite0, exact_photos, photo_classes, agree):
    images, classes = exact_photos, photo_classes
    for parent in list(plain_lite0.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(parent, name, _ReLU6())
    found = GuidedBackprop().maps(exact_lite0, images, classes)
    expected = captum.attr.GuidedBackprop(plain_lite0).attribute(images.clone(), classes)
    agree(_scaled(found), _scaled(expected.detach().abs().amax(1)), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layer"), [("vgg16", "features.29"), ("resnet18", "layer4")])
def test_parity_with_captum(name, layer, in_float64, agree):
    # ResNet calls one in-place ReLU module twice; captum hooks each call's own tensor
    model = _random_model(name)
    backbone = in_float64(model, layer, Preprocessing(64))
    images, classes = torch.randn(2, 3, 64, 64).double(), torch.tensor([7, 285])
    found = GuidedBackprop().maps(backbone, images, classes)
    expected = captum.attr.GuidedBackprop(model).attribute(images.clone(), classes)
    agree(_scaled(found), _scaled(expected.detach().abs().amax(1)), 1e-6)


def _hooked(model, images, classes):
    """The rule by hooks on the modules of the plain model."""
    outputs = {}

    def keep(module, inputs, output):
        outputs[module] = output.detach()

    def rule(module, gradients):
        return (gradients[0] * (gradients[0] > 0) * (outputs[module] > 0),)

    for module in model.modules():
        if isinstance(module, nn.ReLU | nn.Hardswish | nn.GELU):
            module.inplace = False
            module.register_forward_hook(keep)
            module.register_full_backward_pre_hook(rule)
    leaf = images.clone().requires_grad_()
    chosen = model(leaf).gather(1, classes[:, None]).sum()
    return torch.autograd.grad(chosen, leaf)[0].abs().amax(1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer"), [("convnext_tiny", "features"), ("mobilenet_v3_small", "features")]
)
def test_parity_with_module_hooks(name, layer, in_float64, agree):
    model = _random_model(name)
    backbone = in_float64(model, layer, Preprocessing(64))
    images, classes = torch.randn(2, 3, 64, 64).double(), torch.tensor([7, 285])
    found = GuidedBackprop().maps(backbone, images, classes)
    agree(_scaled(found), _scaled(_hooked(model, images, classes)), 1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lite0", {"Hardtanh": 33}),
        ("torchvision/resnet50", {"Relu": 49}),
        ("torchvision/convnext_tiny", {"Gelu": 18}),
        ("torchvision/mobilenet_v3_small", {"Hardswish": 19, "Relu": 14}),
    ],
)
def test_every_activation_is_guided(name, expected, plain_lite0):
    model = plain_lite0 if name == "lite0" else _random_model(name.partition("/")[2])
    backbone = load_backbone(name, state_dict=model.state_dict())
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    assert Counter(guide(backbone(images)[1])) == expected
    called = []
    for module in model.modules():
        if isinstance(module, nn.ReLU | nn.ReLU6 | nn.Hardswish | nn.GELU):
            module.register_forward_hook(lambda m, i, o: called.append(m))
    model(images.detach())
    assert len(called) == sum(expected.values())


def test_it_follows_the_backbone_to_a_device(device, photos):
    backbone = load_backbone("lite0")
    before = GuidedBackprop().maps(backbone, photos[:1], torch.tensor([281]))
    backbone.to(device)
    after = GuidedBackprop().maps(
        backbone, photos[:1].to(device), torch.tensor([281], device=device)
    )
    torch.testing.assert_close(after.cpu(), before, rtol=0, atol=1e-2 * before.abs().max().item())


def test_batch_mates_do_not_matter(lite0, photos):
    together = GuidedBackprop()(lite0, _query(photos, [2, 0, 2], [657, 281, 3]))
    for patch, class_index, map_ in zip([2, 0, 2], [657, 281, 3], together, strict=True):
        assert torch.equal(GuidedBackprop()(lite0, _query(photos, [patch], [class_index]))[0], map_)


def test_no_gradient_gives_zeros():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model[0].bias.data.fill_(-1e3)  # every feature is dead
    model.append(nn.Linear(4, 5))
    backbone = Backbone(model, name="dead", target_layer="1")
    images = torch.stack([torch.rand(3, 16, 16), torch.zeros(3, 16, 16)])
    found = GuidedBackprop().maps(backbone, images, torch.tensor([0, 4]))
    assert torch.equal(found, torch.zeros(2, 16, 16))


def test_nothing_stays_behind(photos):
    backbone = load_backbone("lite0")
    images = photos[:1].clone()
    gc.collect()
    gc.disable()  # no cycle may keep the graph
    try:
        with torch.no_grad():
            found = GuidedBackprop().maps(backbone, images, torch.tensor([3]))
        assert not any(isinstance(kept, _Guide) for kept in gc.get_objects())
    finally:
        gc.enable()
    assert found.grad_fn is None
    assert not images.requires_grad
    assert all(parameter.grad is None for parameter in backbone.parameters())
    for module in backbone.modules():
        assert not module._forward_hooks
        assert not module._backward_hooks

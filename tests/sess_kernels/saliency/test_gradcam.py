import pytest
import pytorch_grad_cam
import torch
import torchvision.models as tvm
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from sess_kernels import load_backbone
from sess_kernels.backbones import Preprocessing
from sess_kernels.fuse import min_max
from sess_kernels.saliency.gradcam import GradCAM


def _images(n):
    return torch.rand(n, 3, 224, 224, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet50", "layer4"),
        ("vgg16", "features.29"),
        ("mobilenet_v3_small", "features"),
        ("resnet18", "layer2"),
    ],
)
def test_parity_with_pytorch_grad_cam(name, layer, in_float64, agree):
    torch.manual_seed(0)
    model = tvm.get_model(name, weights=None).eval()
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    linear.weight.data *= 1e4  # the reference adds 1e-7 to what random weights make as small
    backbone = in_float64(model, layer, Preprocessing(224))
    images, classes = _images(3).double(), torch.tensor([7, 285, 7])
    features, _ = backbone(images)
    found = min_max(GradCAM().maps(backbone, features, classes).float(), 224)
    found = torch.nn.functional.interpolate(found[None], (224, 224), mode="bilinear")[0]
    with pytorch_grad_cam.GradCAM(model, [model.get_submodule(layer)]) as reference:
        targets = [ClassifierOutputTarget(int(index)) for index in classes]
        expected = torch.tensor(reference(images, targets))
    agree(found, expected)


def test_closed_form_equals_the_backward_pass(lite0):
    features, _ = lite0(_images(2))
    classes = torch.tensor([285, 3])
    with torch.enable_grad():
        leaf = features.clone().requires_grad_()
        chosen = lite0.head(leaf).gather(1, classes[:, None]).sum()
        [gradient] = torch.autograd.grad(chosen, leaf)
    expected = (gradient.mean((2, 3), keepdim=True) * features).sum(1).relu()
    torch.testing.assert_close(
        GradCAM().maps(lite0, features, classes), expected, rtol=1e-4, atol=1e-6
    )


def test_nothing_stays_behind():
    state = tvm.vgg16(weights=None).state_dict()
    backbone = load_backbone("torchvision/vgg16", state_dict=state)
    features, _ = backbone(_images(1))
    with torch.no_grad():
        map_ = GradCAM().maps(backbone, features, torch.tensor([3]))
    assert map_.grad_fn is None
    assert all(parameter.grad is None for parameter in backbone.parameters())
    assert not any(module._forward_hooks for module in backbone.modules())

import pytest
import pytorch_grad_cam
import torch
from captum.attr import IntegratedGradients, LayerActivation, LayerGradCam, Occlusion, Saliency
from pytorch_grad_cam import EigenCAM, FinerCAM
from torch import nn
from torchcam.methods import GradCAM, LayerCAM

from sess_kernels import SESS, SESSConfig, SessError
from sess_kernels.backbones import Backbone, Preprocessing
from sess_kernels.saliency import from_captum, from_pytorch_grad_cam, from_torchcam
from sess_kernels.saliency.gradcam import GradCAM as OwnGradCAM

CONFIG = SESSConfig(scales=2)


@pytest.fixture(scope="module")
def maps_of(lite0, chelsea):
    """SESS maps of classes of the cat with some base method."""

    def run(method, classes=(281, 285)):
        [found] = SESS(lite0, method, CONFIG)([chelsea], [classes])
        return torch.stack([one.map for one in found])

    return run


@pytest.fixture(scope="module")
def own_gradcam(maps_of):
    return maps_of("gradcam")


@pytest.fixture
def model():
    """A classifier of a few weights that learns, for tests of what stays behind."""
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4))
    return nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)).eval()


@pytest.fixture
def batch():
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    return images, torch.tensor([0, 4, 2, 2])


def _hooks(model):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


@pytest.mark.slow
def test_parity_of_captum_saliency_with_a_loop(plain_lite0, maps_of, agree):
    def loop(images, class_index):
        leaf = images.clone().requires_grad_()
        for logits, index in zip(plain_lite0(leaf), class_index, strict=True):
            logits[index].backward(retain_graph=True)  # one image after the other, into leaf.grad
        return leaf.grad.abs().amax(1)

    found = maps_of(from_captum(Saliency(plain_lite0)), [285])
    agree(found, maps_of(loop, [285]))


@pytest.mark.slow
def test_parity_of_captum_integrated_gradients_with_a_loop(plain_lite0, maps_of, agree):
    def loop(images, class_index):
        total = torch.zeros_like(images)
        for share in (1 / 6, 1 / 2, 5 / 6):
            leaf = (images * share).requires_grad_()
            chosen = plain_lite0(leaf).gather(1, class_index[:, None]).sum()
            total += torch.autograd.grad(chosen, leaf)[0] / 3
        return (total * images).sum(1).numpy(force=True)

    method = from_captum(
        IntegratedGradients(plain_lite0), "sum", n_steps=3, method="riemann_middle"
    )
    agree(maps_of(method, [285]), maps_of(loop, [285]))


def test_parity_of_captum_layer_grad_cam(plain_lite0, maps_of, own_gradcam, agree):
    method = from_captum(LayerGradCam(plain_lite0, plain_lite0.bn2), relu_attributions=True)
    agree(maps_of(method), own_gradcam)


def test_parity_of_pytorch_grad_cam(plain_lite0, maps_of, own_gradcam, agree):
    with pytorch_grad_cam.GradCAM(plain_lite0, [plain_lite0.bn2]) as cam:
        found = maps_of(from_pytorch_grad_cam(cam))
    agree(found, own_gradcam)


def test_parity_of_torchcam(plain_lite0, maps_of, own_gradcam, agree):
    with GradCAM(plain_lite0, "bn2") as extractor:
        found = maps_of(from_torchcam(extractor))
    agree(found, own_gradcam)


def test_a_function_of_ones_own(lite0, maps_of, own_gradcam):
    def explain(images, class_index):
        features, _ = lite0(images)
        return OwnGradCAM().maps(lite0, features, class_index).numpy(force=True)

    assert torch.equal(maps_of(explain), own_gradcam)


def test_a_wrong_shape_is_told_in_one_line(maps_of):
    with pytest.raises(SessError) as caught:
        maps_of(lambda images, class_index: images.mean((2, 3)))
    expected = "black box must give maps (4, h, w) for 4 images but gave (4, 3)"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [
        ("abs_max", lambda found: found.abs().amax(1)),
        ("abs_sum", lambda found: found.abs().sum(1)),
        ("sum", lambda found: found.sum(1)),
    ],
)
def test_channels_of_captum_become_one(model, batch, reduce, expected):
    images, classes = batch
    options = {"sliding_window_shapes": (3, 5, 5), "strides": (3, 4, 4)}
    occlusion = Occlusion(model)
    found = from_captum(occlusion, reduce, **options).maps(None, images, classes)
    attributions = occlusion.attribute(images, target=classes, **options)
    torch.testing.assert_close(found, expected(attributions).float())
    assert found.std() > 0


def test_several_layers_of_torchcam_are_fused(model, batch):
    images, classes = batch
    with LayerCAM(model, ["0.1", "0.2"]) as extractor:
        found = from_torchcam(extractor).maps(None, images, classes)
        both = extractor(classes.tolist(), model(images))
        expected = extractor.fuse_cams(both)
    torch.testing.assert_close(found, expected)
    assert found.shape == (4, 16, 16)
    assert found.std() > 0


def test_a_method_without_gradients(model, batch):
    images, classes = batch
    with EigenCAM(model, [model[0]]) as cam:
        found = from_pytorch_grad_cam(cam).maps(None, images, classes)
        expected = torch.tensor(cam(images, None))
    torch.testing.assert_close(found, expected)
    assert found.std() > 0


def test_nothing_stays_behind(model, batch):
    images, classes = batch
    assert all(parameter.requires_grad for parameter in model.parameters())
    for made in (Saliency(model), LayerGradCam(model, model[0])):
        assert from_captum(made).maps(None, images, classes).grad_fn is None
    with pytorch_grad_cam.GradCAM(model, [model[0]]) as cam:
        assert from_pytorch_grad_cam(cam).maps(None, images, classes).grad_fn is None
        assert not hasattr(cam, "outputs")
        assert cam.activations_and_grads.activations == []
    with GradCAM(model, "0") as extractor:
        assert from_torchcam(extractor).maps(None, images, classes).grad_fn is None
        assert extractor.hook_a == extractor._hook_outputs == [None]
    assert not _hooks(model)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not images.requires_grad


def test_batch_mates_do_not_matter(model, chelsea, draw):
    backbone = Backbone(model, name="small", preprocessing=Preprocessing(input_size=16))
    with pytorch_grad_cam.GradCAM(model, [model[0]]) as cam:
        for method in (from_pytorch_grad_cam(cam), from_captum(Saliency(model))):
            explain = SESS(backbone, method, CONFIG)
            together = explain([chelsea, draw(23, 26)], [[1, 3], [2]])
            [[alone]] = explain([chelsea], [[3]])
            assert torch.equal(together[0][1].map, alone.map)
            assert alone.map.max() == 1


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda m: from_captum(m), "Sequential of captum has no attribute(); give an attribution"),
        (lambda m: from_captum(Saliency(m), "abs_mx"), "unknown reduce 'abs_mx'; did you mean"),
        (lambda m: from_pytorch_grad_cam(FinerCAM(m, [m[0]])), "takes no target for each image"),
        (lambda m: from_torchcam(m), "Sequential of torchcam has no fuse_cams()"),
    ],
)
def test_what_cannot_be_used_is_told(model, make, expected):
    with pytest.raises(SessError) as caught:
        make(model)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_attributions_that_are_no_maps_are_told(model, batch):
    class Pooled(LayerActivation):
        def attribute(self, inputs, target):
            return super().attribute(inputs)

    with pytest.raises(SessError, match=r"Pooled of captum must give one tensor .* \(4, 6\)$"):
        from_captum(Pooled(model, model[2])).maps(None, *batch)


def test_released_hooks_are_told(model, batch):
    with pytorch_grad_cam.GradCAM(model, [model[0]]) as cam:
        method = from_pytorch_grad_cam(cam)
    with pytest.raises(SessError, match="released its hooks; run SESS inside its with block"):
        method.maps(None, *batch)
    with GradCAM(model, "0") as extractor:
        method = from_torchcam(extractor)
    with pytest.raises(SessError, match="GradCAM of torchcam has released its hooks"):
        method.maps(None, *batch)


def test_groups_of_classes_are_no_outputs_of_the_model(model):
    backbone = Backbone(model, name="small").group_classes({"both": [0, 1]})
    with pytest.raises(SessError, match="explains single outputs but the classes of small are gr"):
        SESS(backbone, from_captum(Saliency(model)))

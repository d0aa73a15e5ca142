import pytest
import torch
from pytorch_grad_cam import GradCAMPlusPlus as PytorchGradCAMPlusPlus
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torchcam.methods import SmoothGradCAMpp

from sess_kernels import load_backbone
from sess_kernels.fuse import min_max
from sess_kernels.saliency.gradcam_pp import GradCAMPlusPlus, channel_weight


class _WithoutEpsilon(PytorchGradCAMPlusPlus):
    """The reference adds 1e-6 to g^2, too much; k g and A / k give k times the weights."""

    def get_cam_weights(self, images, layers, targets, activations, grads):
        k = 1e8
        found = super().get_cam_weights(
            images, layers, targets, activations.astype("f8") / k, grads.astype("f8") * k
        )
        return found / k


@pytest.mark.parametrize("layer", ["bn2", "blocks.6.0.bn2", "blocks.5.0.bn1"])
def test_parity_with_pytorch_grad_cam(plain_lite0, photos, photo_classes, layer, agree):
    backbone = load_backbone("lite0", target_layer=layer)
    found = GradCAMPlusPlus().maps(backbone, backbone.body(photos), photo_classes)
    with _WithoutEpsilon(plain_lite0, [plain_lite0.get_submodule(layer)]) as reference:
        targets = [ClassifierOutputTarget(int(index)) for index in photo_classes]
        expected = torch.tensor(reference(photos.clone().requires_grad_(), targets))
    enlarged = torch.nn.functional.interpolate(
        min_max(found, 224)[None], (224, 224), mode="bilinear"
    )[0]
    agree(enlarged, expected)


def test_parity_with_torchcam(lite0, plain_lite0, photos, photo_classes, agree):
    # its GradCAMpp leaves alpha undivided (it divides a copy in place), its SmoothGradCAMpp does
    # not; that takes sum(g^3 A) for g^3 sum(A), the same where g is the same everywhere
    found = GradCAMPlusPlus().maps(lite0, lite0.body(photos), photo_classes)
    with SmoothGradCAMpp(plain_lite0, "bn2", num_samples=1, std=1e-30) as reference:
        plain_lite0(photos.clone())
        [expected] = reference(photo_classes.tolist(), normalized=False, eps=1e-30)
    agree(min_max(found, 224), min_max(expected, 224))


def test_gradients_that_underflow_when_squared_keep_their_weight():
    g = torch.full((1, 1, 2, 2), 1e-30)
    found = channel_weight(g, torch.ones_like(g), g, torch.ones(1, 1, 2, 2))
    torch.testing.assert_close(found, torch.tensor([[2e-30]]), rtol=1e-6, atol=0)


def test_nothing_over_nothing_is_nothing():
    g = torch.tensor([[[[-1.0, 1.0]]], [[[0.0, 0.0]]]])
    activations = torch.tensor([[[[-1.0, -1.0]]], [[[0.0, 0.0]]]])  # 2 g^2 + g^3 sum A is 4, 0; 0
    assert channel_weight(g, g**2, g**3, activations).tolist() == [[0.0], [0.0]]

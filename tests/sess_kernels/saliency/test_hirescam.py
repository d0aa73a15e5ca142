import pytest
import pytorch_grad_cam
import torch

from sess_kernels import load_backbone
from sess_kernels.fuse import min_max
from sess_kernels.saliency.gradcam import GradCAM
from sess_kernels.saliency.hirescam import HiResCAM, positionwise_sum


@pytest.mark.parametrize("layer", ["bn2", "blocks.6.0.bn2", "blocks.4"])
def test_parity_with_pytorch_grad_cam(plain_lite0, photos, photo_classes, layer, agree):
    backbone = load_backbone("lite0", target_layer=layer)
    found = min_max(HiResCAM().maps(backbone, backbone.body(photos), photo_classes), 224)
    with pytorch_grad_cam.HiResCAM(plain_lite0, [plain_lite0.get_submodule(layer)]) as reference:
        # it adds 1e-7 before it normalises
        targets = [lambda logits, index=index: 1e4 * logits[index] for index in photo_classes]
        expected = torch.tensor(reference(photos.clone().requires_grad_(), targets))
    enlarged = torch.nn.functional.interpolate(found[None], (224, 224), mode="bilinear")[0]
    agree(enlarged, expected)


def test_equals_gradcam_where_the_head_is_pooling_and_a_linear_layer(lite0, photos, photo_classes):
    features, _ = lite0(photos)
    found = HiResCAM().maps(lite0, features, photo_classes)
    assert torch.equal(found, GradCAM().maps(lite0, features, photo_classes))


def test_position_by_position():
    weight = torch.tensor([[[[1.0, 0.0], [0.0, 3.0]], [[0.0, 2.0], [0.0, -1.0]]]])
    activations = torch.tensor([[[[1.0, 5.0], [6.0, 1.0]], [[7.0, 2.0], [8.0, 1.0]]]])
    assert positionwise_sum(weight, activations).tolist() == [[[1.0, 4.0], [0.0, 2.0]]]

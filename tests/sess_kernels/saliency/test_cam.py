import pytest
import torch
import torchvision.models as tvm
from torchcam.methods import CAM as TorchCAM

from sess_kernels import Backbone, SessError, load_backbone
from sess_kernels.fuse import min_max
from sess_kernels.saliency.cam import CAM


def test_parity_with_torchcam(lite0, plain_lite0, photos, photo_classes, agree):
    features, _ = lite0(photos)
    found = CAM().maps(lite0, features, photo_classes)
    with TorchCAM(plain_lite0, "bn2", "classifier") as reference:
        plain_lite0(photos)
        [expected] = reference(photo_classes.tolist(), normalized=False)
    assert found.amin() < 0  # neither cuts negative evidence off
    agree(min_max(found, 224), min_max(expected, 224))


def test_a_group_takes_the_gradient_of_its_log_probability(photos):
    backbone = load_backbone("lite0").group_classes({"cat": [281, 282, 285], "boat": [554, 625]})
    features, logits = backbone(photos[:2])
    found = CAM().maps(backbone, features, torch.tensor([0, 1]))
    probabilities = logits.softmax(1)
    inside = probabilities.clone()
    inside[0, [i for i in range(1000) if i not in (281, 282, 285)]] = 0
    inside[1, [i for i in range(1000) if i not in (554, 625)]] = 0
    weight = (inside / inside.sum(1, keepdim=True) - probabilities) @ backbone.pooled_weight
    expected = torch.einsum("nc,nchw->nhw", weight, features)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_another_head_is_refused():
    backbone = Backbone(tvm.resnet18(), name="resnet18", target_layer="layer2")
    with pytest.raises(SessError, match=r"resnet18 has more behind 'layer2'; use gradcam"):
        CAM().check(backbone)

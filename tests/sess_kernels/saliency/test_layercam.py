import pytest
import pytorch_grad_cam
import torch
from torchcam.methods import LayerCAM as TorchLayerCAM

from sess_kernels import load_backbone
from sess_kernels.fuse import min_max
from sess_kernels.saliency.layercam import LayerCAM


@pytest.mark.parametrize("layer", ["bn2", "blocks.6.0.bn2", "blocks.4"])
def test_parity_with_pytorch_grad_cam(plain_lite0, photos, photo_classes, layer, agree):
    backbone = load_backbone("lite0", target_layer=layer)
    found = min_max(LayerCAM().maps(backbone, backbone.body(photos), photo_classes), 224)
    with pytorch_grad_cam.LayerCAM(plain_lite0, [plain_lite0.get_submodule(layer)]) as reference:
        # it adds 1e-7 before it normalises
        targets = [lambda logits, index=index: 1e4 * logits[index] for index in photo_classes]
        expected = torch.tensor(reference(photos.clone().requires_grad_(), targets))
    enlarged = torch.nn.functional.interpolate(found[None], (224, 224), mode="bilinear")[0]
    agree(enlarged, expected)


@pytest.mark.parametrize("layer", ["bn2", "blocks.4"])
def test_parity_with_torchcam(plain_lite0, photos, photo_classes, layer, agree):
    backbone = load_backbone("lite0", target_layer=layer)
    found = LayerCAM().maps(backbone, backbone.body(photos), photo_classes)
    with TorchLayerCAM(plain_lite0, layer) as reference:
        logits = plain_lite0(photos.clone().requires_grad_())
        [expected] = reference(photo_classes.tolist(), logits, normalized=False)
    agree(min_max(found, 224), min_max(expected, 224))

"""Where a classifier is split: default layers, and what cannot be split."""

import pytest
import timm
import torch
import torchvision.models as tvm
from torch import nn

from sess_kernels import Backbone, SessError
from sess_kernels.backbones import Preprocessing


def test_a_head_that_starts_from_zeros_has_a_default_layer_too():
    model = tvm.VisionTransformer(64, 16, 3, 2, 32, 64, num_classes=10)
    assert not model.heads.head.weight.any()
    backbone = Backbone(model, name="fresh", preprocessing=Preprocessing(64))
    assert backbone.target_layer == "encoder.layers.encoder_layer_1"
    assert backbone.pooled_weight is None  # a head of zeros agrees with any formula


def test_weights_used_on_both_sides_of_the_cut_and_an_argument_with_a_default():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)
            self.act = nn.ReLU()
            self.last = nn.Linear(8, 5)
            self.scale = nn.Parameter(torch.rand(8, 1, 1) + 1)

        def forward(self, x, mask=None):
            scale = self.scale * 2
            x = self.act(self.conv(x) * scale)
            if mask is not None:
                x = x * mask
            return self.last((x * scale).mean((2, 3)))

    model = Shared().eval()
    backbone = Backbone(model, name="shared", preprocessing=Preprocessing(16))
    images = torch.rand(2, 3, 16, 16)
    assert backbone.target_layer == "act"
    torch.testing.assert_close(backbone(images)[1], model(images))


def test_a_model_without_one_sound_layer_is_told():
    model = timm.create_model("pit_ti_224")  # maps and class tokens go side by side
    with pytest.raises(SessError, match="no layer with a feature map that everything passes thr"):
        Backbone(model, name="pit")
    assert Backbone(model, name="pit", target_layer="pos_drop").feature_shape == (64, 27, 27)


def test_a_model_that_cannot_be_traced_is_told():
    class Depends(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))

    with pytest.raises(SessError, match=r"torch\.fx cannot trace it .*BlackBox") as caught:
        Backbone(Depends(), name="depends")
    assert "\n" not in str(caught.value)


def test_features_that_are_no_map_are_told():
    model = tvm.resnet18(weights=None)
    with pytest.raises(SessError, match=r"at 'fc' gives \(1, 1000\), no feature map"):
        Backbone(model, name="resnet18", target_layer="fc")


def test_an_own_reshape():
    model = tvm.VisionTransformer(64, 16, 3, 2, 32, 64)
    backbone = Backbone(
        model,
        name="vit",
        target_layer="encoder.layers.encoder_layer_1",
        preprocessing=Preprocessing(64),
        reshape=lambda tokens: tokens[:, 1:3].transpose(1, 2)[:, :, None],
    )
    features = backbone.body(torch.rand(1, 3, 64, 64))
    assert torch.equal(backbone.spatial(features)[0, :, 0, 1], features[0, 2])

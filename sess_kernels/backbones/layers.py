"""The layer to explain where none is named: the last feature map that decides the logits."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sess_kernels.backbones.reshape import Reshape, Tokens, find_reshape
from sess_kernels.backbones.split import bottlenecks, halves
from sess_kernels.backbones.trace import Traced
from sess_kernels.errors import SessError

_POOLING = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.LPPool2d,
)
_EARLY = 0.25  # of the layers with maps; what lies before them is too close to the pixels


def last_feature_map(traced: Traced, input_size: int) -> str:
    """Name of the layer that gives the last feature map before pooling.

    It is the last layer whose output is a map of more than one position, (N, C, h, w) or
    (N, h, w, C), or a sequence of tokens (N, T, C); that everything passes through; and whose
    positions reach the logits. Behind the last block of a transformer with a class token only that
    token does, so there it is the last block but one.

    Args:
        traced: A classifier of images.
        input_size: Side of the images in pixels.

    Raises:
        SessError: If there is no such layer.

    Example:
        >>> from torchvision.models import vgg16
        >>> from sess_kernels.backbones.trace import trace
        >>> last_feature_map(trace(vgg16().eval()), 224)
        'features.29'
    """
    shapes = _shapes(traced.model, input_size)
    maps = {
        node: name  # of the names of one node the outermost, which ends last
        for name, node in traced.outputs.items()
        if _spatial(shapes.get(name)) is not None
    }
    order = [node for node in traced.graph.nodes if node in maps]
    open_to_all = bottlenecks(traced.graph)
    for number, node in reversed(list(enumerate(order))):
        if number < _EARLY * (len(order) - 1):
            break
        name = maps[node]
        if node not in open_to_all or _is_pooling(traced.model, node):
            continue
        if _reaches_logits(traced, name, shapes[name]):
            return name
    raise SessError(
        f"{traced.kind} has no layer with a feature map that everything passes through; "
        "name one with --target-layer"
    )


def pooled_weight(head: nn.Module, features: Tensor, spatial: Reshape) -> Tensor | None:
    """Weight (outputs, C) of the last layer if the head is average pooling and that, else None.

    Tried rather than read from the modules' types: heads differ in how they are written down, and
    anything between pooling and layer (a norm, a second layer) shows in the output.
    """
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    if not layers or layers[-1].in_features != spatial(features).shape[1]:
        return None
    probe = torch.randn(4, *features.shape[1:], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pooled = spatial(probe).mean((2, 3))
        scale = (pooled @ layers[-1].weight.T).abs().max()  # with weights near zero all are alike
        off = (head(probe) - layers[-1](pooled)).abs().max()
        same = bool(scale > 0) and bool(off <= 1e-3 * scale)
    return layers[-1].weight.detach() if same else None


def _shapes(model: nn.Module, input_size: int) -> dict[str, torch.Size]:
    """Shape of what each layer gives for one image."""
    found: dict[str, torch.Size] = {}

    def look(name: str, output: Any) -> None:
        if isinstance(output, Tensor):
            found[name] = output.shape

    handles = [
        module.register_forward_hook(lambda _, __, out, name=name: look(name, out))
        for name, module in model.named_modules()
    ]
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, input_size, input_size))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _spatial(shape: torch.Size | None) -> Reshape | None:
    """The reshape transform of an output for one image, if it is a map of several positions."""
    if shape is None or shape[0] != 1:
        return None
    reshape = find_reshape(shape)
    if reshape is None or max(reshape(torch.empty(shape, device="meta")).shape[2:]) == 1:
        return None
    return reshape


def _is_pooling(model: nn.Module, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(model.get_submodule(str(node.target)), _POOLING)


def _reaches_logits(traced: Traced, name: str, shape: torch.Size) -> bool:
    """Whether anything but the leading tokens of this layer reaches the logits.

    Tried with NaN in all other places: it survives weights of zero, which a gradient would not,
    and torchvision starts the last layer of its transformers from zeros.
    """
    reshape = _spatial(shape)
    if not isinstance(reshape, Tokens):
        return True
    _, head = halves(traced, name)
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    features[:, shape[1] - reshape.height * reshape.width :] = math.nan
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # the fused kernel swallows NaN
        return bool(head(features).isnan().any())

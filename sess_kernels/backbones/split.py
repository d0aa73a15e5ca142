"""Split a classifier at its target layer: ``logits = head(body(images))``.

A base method such as Grad-CAM needs the features of the target layer and the gradient of the
logits with respect to them. With the network in two halves one forward gives both features and
logits, and a backward pass goes through the head alone: never through the body, never into
parameters.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from sess_kernels.backbones.fold import fold_batch_norms
from sess_kernels.errors import SessError, unknown

_POOLING = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.LPPool2d,
)


class _OutputTracer(fx.Tracer):
    """A tracer that remembers which node is the output of which module."""

    def __init__(self, leaves: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self._leaves = leaves
        self.outputs: dict[str, fx.Node] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._leaves) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        out = super().call_module(m, forward, args, kwargs)
        if isinstance(out, fx.Proxy):
            self.outputs[self.path_of_module(m)] = out.node
        return out


def last_feature_map(model: nn.Module, input_size: int) -> str:
    """Name of the layer whose output is the last feature map before pooling.

    Args:
        model: A classifier of images, in evaluation mode.
        input_size: Side of the images in pixels.

    Raises:
        SessError: If no layer gives a map of more than 1x1 positions.

    Example:
        >>> from torchvision.models import vgg16
        >>> last_feature_map(vgg16().eval(), 224)
        'features.29'
    """
    found = ""
    pooled: list[Tensor] = []  # kept alive: identity tells a pooled map handed on by its container

    def look(name: str, module: nn.Module, output: Any) -> None:
        nonlocal found
        if not isinstance(output, Tensor) or output.ndim != 4 or max(output.shape[2:]) == 1:
            return
        if isinstance(module, _POOLING):
            pooled.append(output)
        elif not any(output is other for other in pooled):
            found = name

    handles = [
        module.register_forward_hook(lambda m, _, out, name=name: look(name, m, out))
        for name, module in model.named_modules()
        if name
    ]
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, input_size, input_size))
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise SessError(
            f"{type(model).__name__} has no layer with a feature map; name one with --target-layer"
        )
    return found


def split(
    model: nn.Module, target_layer: str, leaves: tuple[type[nn.Module], ...] = ()
) -> tuple[nn.Module, nn.Module]:
    """Cut a model behind ``target_layer``.

    Args:
        model: A classifier that torch.fx can trace.
        target_layer: Name of the layer, as in ``model.named_modules()``.
        leaves: Module types that the tracer must not enter.

    Returns:
        Body (images -> features) and head (features -> logits); both share the model's parameters.

    Raises:
        SessError: If there is no such layer, the model cannot be traced, or a path leads around
            the layer.

    Example:
        >>> from torchvision.models import resnet18
        >>> body, head = split(resnet18().eval(), "layer4")
        >>> head(body(torch.zeros(1, 3, 64, 64))).shape
        torch.Size([1, 1000])
    """
    names = [name for name, _ in model.named_modules() if name]
    if target_layer not in names:
        raise SessError(unknown(f"target layer of {type(model).__name__}", target_layer, names))
    tracer = _OutputTracer(leaves)
    try:
        graph = tracer.trace(model)
    except Exception as error:  # torch.fx raises whatever the model's own code raises on a proxy
        raise SessError(
            f"{type(model).__name__} cannot be split at {target_layer!r}: torch.fx cannot trace "
            f"it ({' '.join(str(error).split())[:200]})"
        ) from error
    target = tracer.outputs.get(target_layer)
    if target is None:
        raise SessError(
            f"{type(model).__name__} does not run its layer {target_layer!r}; name another one"
        )
    body, head = _cut(graph, target, f"{type(model).__name__} at {target_layer!r}")
    halves = tuple(fold_batch_norms(fx.GraphModule(model, half)) for half in (body, head))
    return halves[0], halves[1]


def _cut(graph: fx.Graph, target: fx.Node, where: str) -> tuple[fx.Graph, fx.Graph]:
    body, head = fx.Graph(), fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    half = body
    for node in graph.nodes:
        if half is head:
            _check_inputs(node, copies, where)
        copies[node] = half.node_copy(node, copies.__getitem__)
        if node is target:
            body.output(copies[node])
            features = head.placeholder("features")
            # a head may begin in place (DenseNet's does); the features are still to be used
            half, copies = head, {node: head.call_method("clone", (features,))}
    return body, head


def _check_inputs(node: fx.Node, known: dict[fx.Node, fx.Node], where: str) -> None:
    outside = [other.name for other in node.all_input_nodes if other not in known]
    if outside:
        raise SessError(
            f"cannot split {where}: a path leads around it (through {outside[0]}); "
            "name a layer that everything passes through"
        )

"""Split a classifier at its target layer: ``logits = head(body(images))``.

A base method such as Grad-CAM needs the features of the target layer and the gradient of the
logits with respect to them. With the network in two halves one forward gives both features and
logits, and a backward pass goes through the head alone: never through the body, never into
parameters.
"""

from __future__ import annotations

from torch import fx, nn

from sess_kernels.backbones.fold import fold_batch_norms
from sess_kernels.backbones.trace import Traced
from sess_kernels.errors import SessError, unknown


def split(traced: Traced, target_layer: str) -> tuple[nn.Module, nn.Module]:
    """Cut a classifier behind a layer, and fold its batch norms.

    Args:
        traced: The classifier.
        target_layer: Name of the layer, as in ``model.named_modules()``.

    Returns:
        Body (images -> features) and head (features -> logits); both share the model's parameters.

    Raises:
        SessError: If there is no such layer, it gives no single tensor, or a path leads around it.

    Example:
        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from sess_kernels.backbones.trace import trace
        >>> body, head = split(trace(resnet18().eval()), "layer4")
        >>> head(body(torch.zeros(1, 3, 64, 64))).shape
        torch.Size([1, 1000])
    """
    body, head = halves(traced, target_layer)
    return fold_batch_norms(body), fold_batch_norms(head)


def halves(traced: Traced, target_layer: str) -> tuple[fx.GraphModule, fx.GraphModule]:
    """What ``split`` does, with the batch norms left as they are."""
    names = [name for name, _ in traced.model.named_modules() if name]
    if target_layer not in names:
        raise SessError(unknown(f"target layer of {traced.kind}", target_layer, names))
    target = traced.outputs.get(target_layer)
    if target is None:
        raise SessError(
            f"{traced.kind} does not run its layer {target_layer!r}, or it gives several tensors; "
            "name another one"
        )
    body, head = _cut(traced.graph, target, f"{traced.kind} at {target_layer!r}")
    return fx.GraphModule(traced.model, body), fx.GraphModule(traced.model, head)


def constants(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that do not depend on the images: parameters, and what is computed from them alone."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op not in ("placeholder", "output") and found.issuperset(node.all_input_nodes):
            found.add(node)
    return found


def bottlenecks(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that everything from the images to the logits passes through.

    Example:
        >>> from torchvision.models import resnet18
        >>> from sess_kernels.backbones.trace import trace
        >>> traced = trace(resnet18().eval())
        >>> found = bottlenecks(traced.graph)
        >>> [traced.outputs[name] in found for name in ("layer4", "layer4.1.bn1")]
        [True, False]
    """
    place = {node: number for number, node in enumerate(graph.nodes)}
    fixed, found = constants(graph), set()
    last_use = 0  # of everything before the node
    for node, number in place.items():
        if last_use <= number:
            found.add(node)
        if node not in fixed:
            last_use = max([last_use, *(place[user] for user in node.users)])
    return found - fixed


def _cut(graph: fx.Graph, target: fx.Node, where: str) -> tuple[fx.Graph, fx.Graph]:
    body, head = fx.Graph(), fx.Graph()
    fixed = constants(graph)
    copies: dict[fx.Node, fx.Node] = {}
    half = body
    for node in graph.nodes:
        if half is head:
            _bring(node, head, copies, fixed, where)
        copies[node] = half.node_copy(node, copies.__getitem__)
        if node is target:
            body.output(copies[node])
            features = head.placeholder("features")
            # a head may begin in place (DenseNet's does); the features are still to be used
            half, copies = head, {node: head.call_method("clone", (features,))}
    return body, head


def _bring(
    node: fx.Node, head: fx.Graph, copies: dict[fx.Node, fx.Node], fixed: set[fx.Node], where: str
) -> None:
    """Copy the constants of the body that a node of the head uses too."""
    for other in node.all_input_nodes:
        if other in copies:
            continue
        if other not in fixed:
            raise SessError(
                f"cannot split {where}: a path leads around it (through {other.name}); "
                "name a layer that everything passes through"
            )
        _bring(other, head, copies, fixed, where)
        copies[other] = head.node_copy(other, copies.__getitem__)

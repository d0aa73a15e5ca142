"""Guide the activations of a forward: find them in its autograd graph.

The graph has a node for every operation that was done, whoever asked for it: a module, a function,
a method, something inside a module that torch.fx does not enter. Nothing of the network is changed
or copied; what is attached to the nodes goes with the graph, after one backward.

An activation is either one node (ReLU, GELU, ...), or a product of some x and a gate that depends
on x alone, position by position: Swish ``x * sigmoid(x)``, Mish ``x * tanh(softplus(x))``,
Hardswish ``x * relu6(x + 3) / 6``, or a GELU spelled out. The sign of a product is that of its
factors, and holding back its incoming gradient guides it as a whole; the nodes of its gate are
left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

Edge = tuple[Any, int]
"""A node of the graph and which of its outputs; the node is None where nothing depends."""

_DEPTH = 16  # nodes from a product back to its x; the longest known is a GELU with tanh, 9
_BOUNDED = frozenset(("Erf", "Sigmoid", "Tanh", "Hardsigmoid", "Hardtanh", "Clamp", "ClampMax"))
_POINTWISE = _BOUNDED.union(
    ("Add", "Sub", "Rsub", "Mul", "Div", "Neg", "Pow", "Exp", "Softplus", "ClampMin"),
    ("Clone", "ToCopy"),
)
_CUSTOM = re.compile("relu|elu|silu|swish|mish", re.IGNORECASE)


def guide(output: Tensor) -> list[str]:
    """Let only guided gradients pass in the next backward from ``output``.

    Args:
        output: What is differentiated; its graph is for one backward.

    Returns:
        Kind of every activation that is guided now.

    Example:
        >>> x = torch.tensor([-1.0, 2.0], requires_grad=True)
        >>> output = (torch.tensor([1.0, -1.0]) * torch.relu(x + 2)).sum()
        >>> guide(output)
        ['Relu']
        >>> torch.autograd.grad(output, x)
        (tensor([1., 0.]),)
    """
    nodes = _nodes(output)
    gates = {node: gate for node in nodes if _kind(node) == "Mul" and (gate := _gate(node))}
    inside = set().union(*gates.values())
    guided = []
    for node in nodes:
        signs = None if node in inside else _signs(node, node in gates)
        if signs is not None:
            node.register_prehook(_Guide(signs))
            guided.append(_kind(node))
    return guided


class _Guide:
    """Holds back an incoming gradient that is negative or where the activation's output is not."""

    def __init__(self, signs: Iterable[Tensor]) -> None:
        # a result would hold its own node alive, which holds this
        self._signs = [sign.detach() for sign in signs]

    def __call__(self, gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        return tuple(None if gradient is None else self._passed(gradient) for gradient in gradients)

    def _passed(self, gradient: Tensor) -> Tensor:
        passed = gradient.clamp_min(0)
        if self._signs:
            sign, *others = self._signs
            for other in others:
                sign = sign * other
            passed = passed * (sign > 0)
        return passed


def _signs(node: Any, is_product: bool) -> tuple[Tensor, ...] | None:
    """Tensors whose product has the sign of the activation's output; None if it is none.

    None are needed where the local derivative is zero wherever the output is not positive.
    """
    if is_product:
        return node._saved_self, node._saved_other
    known = _SIGNS.get(_kind(node))
    if known is not None:
        return known(node)
    if re.search(r"Backward$", node.name()) and _CUSTOM.search(node.name()):
        return tuple(node.saved_tensors[:1])  # a Function of the model's own, which saves its x
    return None


def _input(node: Any) -> tuple[Tensor, ...]:
    """Input or result, whose signs are the same."""
    in_place = not hasattr(node, "_saved_self")
    return (node._saved_result if in_place else node._saved_self,)


def _hardtanh(node: Any) -> tuple[Tensor, ...] | None:
    """ReLU6 and its like; one that goes below zero is a bounded tanh."""
    return () if node._saved_min_val >= 0 else None


def _clamp(node: Any) -> tuple[Tensor, ...] | None:
    """A ReLU if it cuts at zero; unlike ReLU's its derivative there is 1."""
    low = getattr(node, "_saved_min", None)
    is_relu = isinstance(low, int | float) and low == 0
    return (node._saved_self,) if is_relu else None


def _leaky_relu(node: Any) -> tuple[Tensor, ...]:
    [x] = _input(node)
    return (torch.where(x > 0, x, node._saved_negative_slope * x),)


def _prelu(node: Any) -> tuple[Tensor, ...]:
    x = node._saved_self
    return (torch.where(x > 0, x, node._saved_weight * x),)


_SIGNS: dict[str, Callable[[Any], tuple[Tensor, ...] | None]] = {
    "Relu": lambda node: (),
    "Hardtanh": _hardtanh,
    "Threshold": _input,
    "Clamp": _clamp,
    "ClampMin": _clamp,
    "LeakyRelu": _leaky_relu,
    "PreluKernel": _prelu,
    "RreluWithNoise": _input,
    "Elu": _input,  # SELU too
    "Celu": _input,
    "Gelu": _input,
    "Silu": _input,
    "Mish": _input,
    "Hardswish": _input,
    "Softplus": lambda node: (),  # positive everywhere
}
"""Activations of one node, and what has the sign of their output."""


def _kind(node: Any) -> str:
    """The name of a node's operation, ``Relu`` for ``ReluBackward0``."""
    return re.sub(r"Backward\d*$", "", node.name())


def _nodes(output: Tensor) -> list[Any]:
    """Every node that the output depends on."""
    found: dict[Any, None] = {}
    waiting = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found[node] = None
            waiting += [following for following, _ in node.next_functions]
    return list(found)


def _gate(product: Any) -> set[Any]:
    """The nodes between a product and its x if it is x times a gate of x, else none."""
    edges = [edge for edge in product.next_functions if edge[0] is not None]
    if len(edges) != 2:
        return set()
    for value, other in (edges, edges[::-1]):
        scaled: list[Any] = []
        for x in _scaled(value):
            gate = _between(other, x, _DEPTH)
            if gate is not None and any(_kind(node) in _BOUNDED for node in gate):
                return gate.union(scaled)
            scaled.append(x[0])
    return set()


def _scaled(edge: Edge) -> Iterable[Edge]:
    """The edge, then what it is a multiple of, and so on."""
    for _ in range(_DEPTH):
        yield edge
        edges = [following for following in edge[0].next_functions if following[0] is not None]
        if _kind(edge[0]) not in ("Mul", "Div") or len(edges) != 1:
            return
        [edge] = edges


def _between(edge: Edge, x: Edge, depth: int) -> set[Any] | None:
    """The nodes from ``edge`` back to ``x`` if they depend on x alone, pointwise, else None."""
    if edge == x:
        return set()
    node = edge[0]
    if not depth or _kind(node) not in _POINTWISE:
        return None
    found = {node}
    for following in node.next_functions:
        if following[0] is not None:
            more = _between(following, x, depth - 1)
            if more is None:
                return None
            found |= more
    return found

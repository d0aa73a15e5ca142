"""Trace a classifier with torch.fx: its graph, and which node is the output of which layer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import fx, nn

from sess_kernels.errors import SessError, one_line


class Traced(NamedTuple):
    """A classifier and its graph.

    Attributes:
        model: The classifier.
        graph: Its operations, from the images to the logits.
        outputs: The node that each layer gives, by the layer's name; a layer that gives no single
            tensor is left out.
    """

    model: nn.Module
    graph: fx.Graph
    outputs: dict[str, fx.Node]

    @property
    def kind(self) -> str:
        """Name of the classifier's type, for messages."""
        return type(self.model).__name__


class _OutputTracer(fx.Tracer):
    """A tracer that remembers what each module gives, and heeds what timm hides from tracers."""

    def __init__(self, leaves: tuple[type[nn.Module], ...]) -> None:
        modules, functions = _not_to_enter()
        super().__init__(autowrap_functions=functions)
        self._leaves = leaves + modules
        self.outputs: dict[str, fx.Node] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._leaves) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        out = super().call_module(m, forward, args, kwargs)
        if isinstance(out, fx.Proxy):
            self.outputs[self.path_of_module(m)] = out.node
        return out

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> Any:
        def images_only(model: nn.Module, images: Any) -> Any:
            return root_fn(model, images)  # a mask, say, keeps its default: no proxy is None

        return super().create_args_for_root(images_only, is_module, concrete_args)


def _not_to_enter() -> tuple[tuple[type[nn.Module], ...], tuple[Callable[..., Any], ...]]:
    """Modules and functions that timm marks as not to be traced, if timm is in use at all."""
    marks: Any = sys.modules.get("timm.models._features_fx")
    if marks is None:
        return (), ()
    return tuple(marks.get_notrace_modules()), tuple(marks.get_notrace_functions())


def trace(model: nn.Module, leaves: tuple[type[nn.Module], ...] = ()) -> Traced:
    """Trace a classifier.

    Args:
        model: A classifier of images, in evaluation mode; further arguments keep their defaults.
        leaves: Module types that the tracer must not enter.

    Raises:
        SessError: If torch.fx cannot trace it.

    Example:
        >>> from torchvision.models import resnet18
        >>> trace(resnet18().eval()).outputs["layer4"].name
        'layer4_1_relu_1'
    """
    tracer = _OutputTracer(leaves)
    try:
        graph = tracer.trace(model)
    except Exception as error:  # torch.fx raises whatever the model's own code raises on a proxy
        raise SessError(
            f"{type(model).__name__} cannot be split: torch.fx cannot trace it "
            f"({one_line(error)[:200]}); keep its control flow free of tensors' values, or use it "
            "as a BlackBox with a method that needs no layer"
        ) from error
    return Traced(model, graph, tracer.outputs)

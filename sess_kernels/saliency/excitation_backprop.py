r"""Excitation backprop (Zhang et al., IJCV 2018, "Top-down neural attention").

A probability of winning starts at the class and goes down through the head. A neuron i hands its
own on to the neurons j below it, in proportion to their excitatory contributions:

    P(j | i) = x_j+ w_ij+ / sum_j' x_j'+ w_ij'+        P(j) = sum_i  P(j | i) P(i)

with activations x, weights w and a+ = max(a, 0); a neuron without any excitation hands on nothing.
The map is the sum of P over the channels of the target layer. Average pooling has equal weights; a
sum shares in proportion to the positive parts of its terms; a neuron and its activation function
or normalisation are one; a gate (squeeze-and-excitation) is a constant; maximum pooling hands on to
the maximum. The paper takes activations to be non-negative; a+ leaves out those that are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sess_kernels.backbones.base import Backbone
from sess_kernels.errors import SessError
from sess_kernels.saliency.base import FeatureMethod

_WEIGHTED = {"conv2d", "linear"}
_AVERAGES = {"avg_pool2d", "adaptive_avg_pool2d", "mean", "sum"}
_SUMS = {"add", "iadd", "radd"}
_GATED = {"mul", "imul", "rmul", "div", "truediv", "itruediv"}
_ALONE = {  # functions of one neuron and constants
    *("relu", "relu6", "hardtanh", "leaky_relu", "elu", "gelu", "silu", "hardswish", "mish"),
    *("sigmoid", "hardsigmoid", "tanh", "clamp", "dropout", "batch_norm", "layer_norm"),
    *("group_norm", "add", "iadd", "radd", "sub", "isub", "rsub", "to", "float"),
}
_MOVES = {  # neurons change places, or some of them go: there the gradient is right
    *("clone", "contiguous", "flatten", "reshape", "view", "squeeze", "unsqueeze", "permute"),
    *("transpose", "cat", "concat", "concatenate", "chunk", "split", "getitem", "pad"),
    *("max_pool2d", "adaptive_max_pool2d"),
}

_NOTHING = 1e-30  # less excitation than this is none, and no quotient overflows


class _Share(torch.autograd.Function):
    """``value(*inputs)``, whose backward pass shares probabilities out to the inputs."""

    @staticmethod
    def forward(
        ctx: Any, value: Callable[..., Tensor], excitation: Callable[..., Tensor], *inputs: Tensor
    ) -> Tensor:
        ctx.excitation = excitation
        ctx.save_for_backward(*inputs)
        return value(*inputs)

    @staticmethod
    def backward(ctx: Any, probability: Tensor) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            positive = [x.detach().clamp_min(0).requires_grad_() for x in ctx.saved_tensors]
            total = ctx.excitation(*positive)
            shared = torch.where(total > _NOTHING, probability / total, 0)
            gradients = torch.autograd.grad(total, positive, shared)
        return None, None, *(x.detach() * g for x, g in zip(positive, gradients, strict=True))


class _Pass(torch.autograd.Function):
    """``value(x)``, whose backward pass hands probabilities on as they are."""

    @staticmethod
    def forward(ctx: Any, value: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return value(x)

    @staticmethod
    def backward(ctx: Any, probability: Tensor) -> tuple[None, Tensor]:
        return None, probability


class _ExcitationRules(TorchFunctionMode):
    """Within it, the gradient of a function of PyTorch is its rule of excitation backprop."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name, kwargs = func.__name__.strip("_"), kwargs or {}
        neurons = [x for x in args if isinstance(x, Tensor) and x.requires_grad]
        if name in _WEIGHTED and len(neurons) == 1:
            return _weighted(func, *args, **kwargs)
        if name in _AVERAGES and neurons:
            average = _of(neurons[0], func, args, kwargs)
            return _Share.apply(average, average, neurons[0])
        if name in _SUMS and len(neurons) == 2:
            add = partial(torch.add, **kwargs)
            return _Share.apply(add, add, *neurons)
        if (name in _ALONE and len(neurons) == 1) or (name in _GATED and neurons):
            neuron = max(neurons, key=Tensor.numel)  # a gate has fewer values
            return _Pass.apply(_of(neuron, func, args, kwargs), neuron)
        found = func(*args, **kwargs)
        if isinstance(found, Tensor) and found.requires_grad and name not in _MOVES:
            raise SessError(f"excitation-backprop has no rule for {func.__name__!r} in the head")
        return found


def _of(
    neuron: Tensor, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: Any
) -> Callable[[Tensor], Tensor]:
    """The call as a function of one of its arguments, which it leaves as it is."""
    return lambda x: func(*(x.clone() if given is neuron else given for given in args), **kwargs)


def _weighted(
    func: Callable[..., Tensor],
    neurons: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *rest: Any,
    **named: Any,
) -> Tensor:
    positive = weight.clamp_min(0)
    value = lambda x: func(x, weight, bias, *rest, **named)  # noqa: E731
    excitation = lambda x: func(x, positive, None, *rest, **named)  # noqa: E731
    found: Tensor = _Share.apply(value, excitation, neurons)
    return found


@dataclass(frozen=True)
class ExcitationBackprop(FeatureMethod):
    """Excitation backprop from the class to the target layer.

    The probability starts at the class alone; in a group of classes, with the probabilities of its
    members.

    Example:
        >>> from sess_kernels import load_backbone
        >>> backbone = load_backbone("lite0")
        >>> features, logits = backbone(torch.rand(1, 3, 224, 224))
        >>> map_ = ExcitationBackprop().maps(backbone, features, logits.argmax(1))
        >>> tuple(map_.shape), round(map_.sum().item(), 5)
        ((1, 7, 7), 1.0)
    """

    title = "Excitation backprop"

    def check(self, backbone: Backbone) -> None:
        """Raise ``SessError`` if the head has a function without a rule, such as attention."""
        probe = torch.rand(2, *backbone.feature_shape, generator=torch.Generator().manual_seed(0))
        probe = probe.to(backbone.device).requires_grad_()
        with torch.no_grad():
            expected = backbone.head(probe)
        try:
            with torch.enable_grad(), _ExcitationRules():
                found = backbone.head(probe)
        except SessError as error:
            raise SessError(
                f"{error} of {backbone.name} behind {backbone.target_layer!r}; "
                "name a later target layer or use gradcam"
            ) from None
        if not torch.allclose(found, expected, rtol=1e-3, atol=1e-4):
            raise SessError(
                f"excitation-backprop cannot follow the head of {backbone.name} behind "
                f"{backbone.target_layer!r} (it changes tensors in place); use gradcam"
            )

    def maps(self, backbone: Backbone, features: Tensor, class_index: Tensor) -> Tensor:
        """Maps (N, h, w) of features (N, ...) and classes ``int64 (N,)``; sums are at most 1."""
        with torch.enable_grad():
            leaf = features.detach().requires_grad_()
            with _ExcitationRules():
                logits = backbone.head(leaf)
            start = _start(backbone, logits.detach(), class_index)
            [probability] = torch.autograd.grad(logits, leaf, start)
        return backbone.spatial(probability).permute(0, 2, 3, 1).contiguous().sum(3)


def _start(backbone: Backbone, logits: Tensor, class_index: Tensor) -> Tensor:
    """Probabilities (N, outputs) to begin with: a class, or the members of a group."""
    if backbone.groups is None:
        return torch.zeros_like(logits).scatter_(1, class_index[:, None], 1)
    inside = logits.masked_fill(backbone.groups[class_index] == 0, -torch.inf)
    return inside.softmax(dim=1)

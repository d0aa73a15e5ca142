"""A classifier as its library makes it, before it is split: what loaders have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor, nn

from sess_kernels.backbones.base import Preprocessing
from sess_kernels.errors import SessError, one_line

StateDict = Mapping[str, Tensor]
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Classifier:
    """A classifier and what it was trained with.

    Attributes:
        model: Normalised images (N, 3, S, S) to logits (N, classes).
        preprocessing: Input size S, mean, standard deviation and interpolation.
        class_names: Names of its published classes; of other weights they may be another number.
        leaves: Module types that a tracer must not enter.
        multi_label: Whether it was trained with a sigmoid for each class, see ``Backbone``.

    Example:
        >>> Classifier(nn.Linear(2, 3)).preprocessing.input_size
        224
    """

    model: nn.Module
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    class_names: tuple[str, ...] = ()
    leaves: tuple[type[nn.Module], ...] = ()
    multi_label: bool = False


def fetched(fetch: Callable[[], _Found], name: str) -> _Found:
    """What a library downloads once and then keeps: a model, or weights.

    Args:
        fetch: The library's call.
        name: Name of the backbone, for the message.

    Raises:
        SessError: If it fails.
    """
    try:
        return fetch()
    except Exception as error:  # urllib, httpx and the hub client each raise their own kinds
        raise SessError(
            f"the published weights of {name} could not be fetched ({one_line(error)[:160]}); "
            "connect once so that they are cached, or give a state dict with --weights FILE"
        ) from error


def filled(
    make: Callable[..., nn.Module], name: str, state_dict: StateDict, full: str
) -> nn.Module:
    """A library's model with the given weights and as many classes as they have.

    Args:
        make: Called with the name and ``num_classes``.
        name: The library's name of the model.
        state_dict: The weights.
        full: Name of the backbone, for messages.

    Raises:
        SessError: If the weights are of another model.

    Example:
        >>> from torchvision.models import get_model, resnet18
        >>> filled(get_model, "resnet18", resnet18(num_classes=4).state_dict(), "own").fc
        Linear(in_features=512, out_features=4, bias=True)
    """
    matrices = [tensor for tensor in state_dict.values() if tensor.ndim == 2]
    sizes: dict[str, Any] = {"num_classes": matrices[-1].shape[0]} if matrices else {}
    model = make(name, **sizes)
    fill(model, state_dict, full)
    return model


def fill(model: nn.Module, state_dict: StateDict, name: str) -> None:
    """Load weights into a model; ``SessError`` if they are of another one."""
    try:
        model.load_state_dict(state_dict)
    except RuntimeError as error:
        raise SessError(f"the weights do not fit {name}: {one_line(error)[:240]}") from error

"""Attribution objects of captum, pytorch-grad-cam and torchcam as base methods.

SESS asks a saliency method only for maps of images and classes (Tursun et al., "SESS: Saliency
Enhancing with Scaling and Sliding", ECCV 2022, section 3), which these libraries give too. Each
adapter takes an object of the library, made for a plain model, and calls it with device batches of
one fixed size. The libraries are never imported here: what counts is how the object behaves.

The model inside the object is the user's own. It must be in evaluation mode, on the device of the
backbone, take the backbone's normalised images, and have its outputs in the backbone's order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sess_kernels.backbones.base import Backbone
from sess_kernels.errors import SessError, unknown
from sess_kernels.saliency.blackbox import BlackBoxMethod

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "abs_max": lambda found: found.abs().amax(1),
    "abs_sum": lambda found: found.abs().sum(1),
    "sum": lambda found: found.sum(1),
}
"""What turns attributions (N, C, h, w) into maps (N, h, w)."""


@dataclass(frozen=True)
class _Adapted(BlackBoxMethod):
    """A black box that explains single outputs of its own model."""

    def check(self, backbone: Backbone) -> None:
        """Raise ``SessError`` if the backbone's classes are not outputs of a model."""
        if backbone.groups is not None:
            raise SessError(
                f"{self.title} explains single outputs but the classes of {backbone.name} are "
                "groups of them; use a method of METHODS or a function of your own"
            )


def from_captum(
    attribution: Any, reduce: str = "abs_max", **attribute_kwargs: Any
) -> BlackBoxMethod:
    """A captum attribution as a base method, of the input or of a layer.

    Methods with random parts draw from torch's global generator: seed it, and expect maps to
    depend on what was asked before.

    Args:
        attribution: ``Saliency``, ``IntegratedGradients``, ``Occlusion``, ``LayerGradCam``, ...
        reduce: How the channels become one: ``abs_max``, ``abs_sum`` or ``sum``; a single channel,
            as of ``LayerGradCam``, is taken as it is.
        **attribute_kwargs: For its ``attribute``, such as ``n_steps`` or ``relu_attributions``.

    Returns:
        A method whose maps are (N, h, w), of the size of the images or of the layer.

    Raises:
        SessError: If the object is none of captum's, ``reduce`` is unknown, or, when it is used,
            if it gives no attributions (N, C, h, w).

    Example:
        >>> from captum.attr import Saliency
        >>> model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5))
        >>> method = from_captum(Saliency(model))
        >>> method.title, method.maps(None, torch.rand(2, 3, 8, 8), torch.tensor([1, 4])).shape
        ('Saliency of captum', torch.Size([2, 8, 8]))
    """
    title = f"{type(attribution).__name__} of captum"
    if not hasattr(attribution, "attribute"):
        raise SessError(f"{title} has no attribute(); give an attribution object")
    if reduce not in REDUCTIONS:
        raise SessError(unknown("reduce", reduce, REDUCTIONS))

    def explain(images: Tensor, class_index: Tensor) -> Tensor:
        found = attribution.attribute(_leaf(images), target=class_index, **attribute_kwargs)
        if isinstance(found, tuple) and len(found) == 1:
            [found] = found
        if not isinstance(found, Tensor) or found.ndim != 4:
            raise SessError(
                f"{title} must give one tensor of attributions (N, C, h, w) but gave "
                f"{_described(found)}"
            )
        return (found[:, 0] if found.shape[1] == 1 else REDUCTIONS[reduce](found)).detach()

    return _Adapted(explain, title)


def from_pytorch_grad_cam(cam: Any, **call_kwargs: Any) -> BlackBoxMethod:
    """A CAM of pytorch-grad-cam as a base method.

    Its maps come normalised, enlarged to the images. The object keeps its hooks on the model until
    it is released; use it, and SESS with it, inside its ``with`` block.

    Args:
        cam: ``GradCAM``, ``ScoreCAM``, ``EigenCAM``, ...; for a transformer made with its
            ``reshape_transform``.
        **call_kwargs: For its call, ``aug_smooth`` or ``eigen_smooth``.

    Returns:
        A method whose maps are (N, S, S) for images (N, 3, S, S).

    Raises:
        SessError: If the object is no such CAM or, when it is used, if its hooks are released.

    Example:
        >>> from pytorch_grad_cam import GradCAM
        >>> from torchvision.models import resnet18
        >>> model = resnet18()
        >>> with GradCAM(model, [model.layer4]) as cam:
        ...     method = from_pytorch_grad_cam(cam)
        ...     maps = method.maps(None, torch.rand(2, 3, 64, 64), torch.tensor([7, 285]))
        >>> method.title, maps.shape
        ('GradCAM of pytorch-grad-cam', torch.Size([2, 64, 64]))
    """
    title = f"{type(cam).__name__} of pytorch-grad-cam"
    if not hasattr(cam, "activations_and_grads"):
        raise SessError(f"{title} cannot be used; it takes no target for each image")
    hooks = cam.activations_and_grads

    def explain(images: Tensor, class_index: Tensor) -> Tensor:
        if not hooks.handles:
            raise SessError(f"{title} has released its hooks; run SESS inside its with block")
        targets = [_Output(index) for index in class_index.tolist()]
        with _frozen(cam.model):
            found = cam(input_tensor=_leaf(images), targets=targets, **call_kwargs)
        vars(cam).pop("outputs", None)  # it would hold the graph of the batch
        hooks.activations, hooks.gradients = [], []
        return torch.as_tensor(found)

    return _Adapted(explain, title)


def from_torchcam(extractor: Any, **call_kwargs: Any) -> BlackBoxMethod:
    """A CAM extractor of torchcam as a base method.

    The maps of several layers are normalised and fused as torchcam does it. The extractor keeps
    its hooks on the model until it is released; use it, and SESS with it, inside its ``with``
    block.

    Args:
        extractor: ``GradCAM``, ``LayerCAM``, ``ScoreCAM``, ...
        **call_kwargs: For its call.

    Returns:
        A method whose maps are (N, h, w), of the size of the layer, of the largest if several.

    Raises:
        SessError: If the object is no extractor or, when it is used, if its hooks are released.

    Example:
        >>> from torchcam.methods import LayerCAM
        >>> from torchvision.models import resnet18
        >>> with LayerCAM(resnet18().eval(), "layer4") as extractor:
        ...     method = from_torchcam(extractor)
        ...     maps = method.maps(None, torch.rand(2, 3, 64, 64), torch.tensor([7, 285]))
        >>> method.title, maps.shape
        ('LayerCAM of torchcam', torch.Size([2, 2, 2]))
    """
    title = f"{type(extractor).__name__} of torchcam"
    if not hasattr(extractor, "fuse_cams"):
        raise SessError(f"{title} has no fuse_cams(); give a CAM extractor")

    def explain(images: Tensor, class_index: Tensor) -> Tensor:
        if not getattr(extractor, "hook_handles", True):
            raise SessError(f"{title} has released its hooks; run SESS inside its with block")
        several = len(extractor.target_names) > 1
        with _frozen(extractor.model):
            scores = extractor.model(_leaf(images))
            maps = extractor(class_index.tolist(), scores, normalized=several, **call_kwargs)
        extractor.reset_hooks()  # they would hold the graph of the batch
        found: Tensor = extractor.fuse_cams(maps)
        return found.detach()

    return _Adapted(explain, title)


class _Output:
    """One output of a model as a target; pytorch-grad-cam calls it with the outputs of an image."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __call__(self, outputs: Tensor) -> Tensor:
        return outputs[..., self._index]


def _leaf(images: Tensor) -> Tensor:
    return images.detach().requires_grad_()


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No parameter takes gradients meanwhile: a backward pass leaves none behind."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_()


def _described(found: object) -> str:
    shape = getattr(found, "shape", None)
    return f"{type(found).__name__}" + (f" {tuple(shape)}" if shape is not None else "")

"""A classifier split at its target layer, with the preprocessing it was trained with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sess_kernels.backbones.layers import last_feature_map, pooled_weight
from sess_kernels.backbones.reshape import Reshape, reshape_of
from sess_kernels.backbones.split import split
from sess_kernels.backbones.trace import trace
from sess_kernels.errors import SessError


@dataclass(frozen=True)
class Preprocessing:
    """How a backbone wants its images.

    Attributes:
        input_size: Side of the square input in pixels.
        mean: Mean of each channel of images in [0, 1].
        std: Standard deviation of each channel of images in [0, 1].
        interpolation: ``"bilinear"`` or ``"bicubic"``.
    """

    input_size: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"


class FixedForward(NamedTuple):
    """A faster way through the network for one kind of device batch, see ``runtimes``.

    Attributes:
        shape: Of the patches.
        dtype: Of the patches.
        call: Patches to features and logits, without autograd.
    """

    shape: torch.Size
    dtype: torch.dtype
    call: Callable[[Tensor], tuple[Tensor, Tensor]]

    def takes(self, patches: Tensor) -> bool:
        """Whether it may run these patches, here and now."""
        same = (patches.shape, patches.dtype) == (self.shape, self.dtype)
        return same and not torch.is_grad_enabled()


class Backbone(nn.Module):
    """A classifier that gives features and logits in one forward.

    The model is put in evaluation mode, its parameters never require gradients.

    Args:
        model: A classifier ``(N, 3, h, w) -> (N, classes)`` that torch.fx can trace.
        name: Name for messages and records.
        target_layer: Layer whose output the base method explains, one that everything passes
            through; if not given the last feature map before pooling, for a transformer with a
            class token the output of its last block but one, as no other token leaves the last.
        preprocessing: Input size, mean, standard deviation and interpolation.
        class_names: One name for each logit; the index as text if not given.
        leaves: Module types that the tracer must not enter.
        reshape: Turns the layer's output into (N, C, h, w); found by itself for tokens (N, T, C)
            of a square map behind class, distillation and register tokens, and for maps with the
            channels last.
        multi_label: Score each class by the sigmoid of its logit, of classifiers that were trained
            so; by the softmax of all if not.

    Raises:
        SessError: If the layer does not exist or the model cannot be split there.

    Example:
        >>> from torchvision.models import resnet18
        >>> backbone = Backbone(resnet18(), name="resnet18")
        >>> features, logits = backbone(torch.zeros(2, 3, 64, 64))
        >>> backbone.target_layer, tuple(features.shape), tuple(logits.shape)
        ('layer4', (2, 512, 2, 2), (2, 1000))
    """

    pooled_weight: Tensor | None
    """Weight (outputs, channels) of the linear layer if the head is average pooling + linear."""
    batch_size: int | None = None
    """Patches of a device batch where the classifier takes no other number."""
    fixed_forward: FixedForward | None = None
    """What runs such batches if nothing is differentiated."""
    groups: Tensor | None
    """(classes, outputs) with a one for every output of a class, if classes were grouped."""
    multi_label: bool = False
    """Whether a score is the sigmoid of a logit, so that scores of classes do not sum to 1."""
    without_outputs: frozenset[int] = frozenset()
    """Classes of empty groups: their score is 0, and they cannot be explained."""

    def __init__(
        self,
        model: nn.Module,
        *,
        name: str,
        target_layer: str | None = None,
        preprocessing: Preprocessing | None = None,
        class_names: Sequence[str] | None = None,
        leaves: tuple[type[nn.Module], ...] = (),
        reshape: Reshape | None = None,
        multi_label: bool = False,
    ) -> None:
        super().__init__()
        self.name, self.multi_label = name, multi_label
        self.preprocessing = preprocessing or Preprocessing()
        model = model.eval().requires_grad_(False)
        traced = trace(model, leaves)
        self.target_layer = target_layer or last_feature_map(traced, self.input_size)
        self.body, self.head = split(traced, self.target_layer)
        size = self.input_size
        with torch.no_grad():
            features = self.body(torch.zeros(1, 3, size, size))
            self.n_classes = int(self.head(features).shape[-1])
        self.feature_shape = tuple(features.shape[1:])
        self.spatial = reshape or reshape_of(features, f"{name} at {self.target_layer!r}")
        names = class_names if class_names and len(class_names) == self.n_classes else None
        self.class_names = tuple(names or map(str, range(self.n_classes)))
        pooled = pooled_weight(self.head, features, self.spatial)
        self.register_buffer("pooled_weight", pooled, persistent=False)
        self.register_buffer("groups", None, persistent=False)
        for weight in self.parameters():  # not .to(memory_format=...): timm's Swin has 5 axes too
            if weight.ndim == 4:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    @property
    def input_size(self) -> int:
        """Side of the square input in pixels."""
        return self.preprocessing.input_size

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters(), torch.empty(0)).device

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, ...) of the target layer and logits (N, outputs) of (N, 3, H, W)."""
        if self.fixed_forward and self.fixed_forward.takes(patches):
            return self.fixed_forward.call(patches)
        features = self.body(patches)
        return features, self.head(features)

    def scores(self, logits: Tensor) -> Tensor:
        """Probabilities (N, classes) of logits (N, outputs), in float32; summed over a group."""
        if self.multi_label:
            return _sigmoid(logits.float())
        probabilities = logits.float().softmax(dim=-1)
        return probabilities if self.groups is None else probabilities @ self.groups.T

    def target(self, logits: Tensor, class_index: Tensor) -> Tensor:
        """What is differentiated (N,): the logit of a class, the log-probability of a group."""
        if self.groups is None:
            return logits.gather(1, class_index[:, None])[:, 0]
        inside = logits.masked_fill(self.groups[class_index] == 0, -torch.inf)
        return inside.logsumexp(dim=1) - logits.logsumexp(dim=1)

    def pooled_gradient(self, features: Tensor, class_index: Tensor) -> Tensor:
        """Gradient (N, C) of the target with respect to the pooled features, closed form."""
        assert self.pooled_weight is not None
        if self.groups is None:
            return self.pooled_weight[class_index]
        gradient = self.log_score_gradient(self.head(features), class_index)
        return torch.mm(gradient, self.pooled_weight)

    def log_score_gradient(self, logits: Tensor, class_index: Tensor) -> Tensor:
        """Gradient (N, outputs) of the logarithm of the class's score by the logits."""
        if self.groups is None:
            outputs = torch.arange(logits.shape[1], device=logits.device)
            inside = (outputs == class_index[:, None]).to(logits.dtype)
            if self.multi_label:
                return inside * _sigmoid(-logits)  # 1 - score
        else:
            others = self.groups[class_index] == 0
            inside = logits.masked_fill(others, -torch.inf).softmax(dim=1)
        return inside - logits.softmax(dim=1)

    def group_classes(self, groups: Mapping[str, Sequence[int]]) -> Backbone:
        """Make each group of outputs one class: scores add up, the target is the log of the sum.

        Args:
            groups: Name of each class and the outputs of the model that it stands for; without any
                it is a class that cannot be explained.

        Returns:
            This backbone.

        Raises:
            SessError: If all groups are empty or one names an output that does not exist, or if the
                backbone is ``multi_label``.

        Example:
            >>> from sess_kernels.backbones import load_backbone
            >>> backbone = load_backbone("lite0").group_classes({"cat": [281, 282, 283, 284, 285]})
            >>> backbone.class_names, backbone.scores(torch.zeros(1, 1000)).item()
            (('cat',), 0.004999999888241291)
        """
        if self.multi_label:
            raise SessError(
                f"classes of {self.name} cannot be grouped: a sigmoid scores each by itself, and "
                "their sum is no probability; leave out --class-groups"
            )
        n_outputs = self.n_classes if self.groups is None else self.groups.shape[1]
        members = torch.zeros(len(groups), n_outputs, device=self.device)
        for row, (name, outputs) in enumerate(groups.items()):
            wrong = [index for index in outputs if not 0 <= index < n_outputs]
            if wrong or not any(groups.values()):
                raise SessError(
                    f"class group {name!r} must list outputs of {self.name}, 0 to {n_outputs - 1}, "
                    f"but got {wrong[:5] or 'none'}"
                )
            members[row, list(outputs)] = 1
        self.groups = members
        rows = enumerate(groups.values())
        self.without_outputs = frozenset(row for row, outputs in rows if not outputs)
        self.n_classes, self.class_names = len(groups), tuple(groups)
        return self

    def normalize(self, image: Tensor) -> Tensor:
        """Turn an image (..., 3, H, W) with values 0 to 255 into what the network was trained on.

        Example:
            >>> from sess_kernels.backbones import load_backbone
            >>> image = torch.full((3, 1, 1), 255, dtype=torch.uint8)
            >>> load_backbone("lite0").normalize(image).flatten().tolist()
            [1.0, 1.0, 1.0]
        """
        mean = torch.tensor(self.preprocessing.mean, device=image.device).view(3, 1, 1) * 255
        std = torch.tensor(self.preprocessing.std, device=image.device).view(3, 1, 1) * 255
        return (image.float() - mean) / std


def _sigmoid(logits: Tensor) -> Tensor:
    # as a softmax of two: on CPUs the bits of torch.sigmoid depend on the place in the batch
    return torch.stack([logits, torch.zeros_like(logits)], dim=-1).softmax(dim=-1)[..., 0]

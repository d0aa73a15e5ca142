"""A classifier split at its target layer, with the preprocessing it was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sess_kernels.backbones.split import last_feature_map, split


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


class Backbone(nn.Module):
    """A classifier that gives features and logits in one forward.

    The model is put in evaluation mode, its parameters never require gradients.

    Args:
        model: A classifier ``(N, 3, h, w) -> (N, classes)`` that torch.fx can trace.
        name: Name for messages and records.
        target_layer: Layer whose output the base method explains; the last feature map before
            pooling if not given.
        preprocessing: Input size, mean, standard deviation and interpolation.
        class_names: One name for each logit; the index as text if not given.
        leaves: Module types that the tracer must not enter.

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
    """Weight (classes, channels) of the linear layer if the head is average pooling + linear."""

    def __init__(
        self,
        model: nn.Module,
        *,
        name: str,
        target_layer: str | None = None,
        preprocessing: Preprocessing | None = None,
        class_names: Sequence[str] | None = None,
        leaves: tuple[type[nn.Module], ...] = (),
    ) -> None:
        super().__init__()
        self.name = name
        self.preprocessing = preprocessing or Preprocessing()
        model = model.eval().requires_grad_(False)
        self.target_layer = target_layer or last_feature_map(model, self.input_size)
        self.body, self.head = split(model, self.target_layer, leaves)
        size = self.input_size
        with torch.no_grad():
            features = self.body(torch.zeros(1, 3, size, size))
            self.n_classes = int(self.head(features).shape[-1])
        names = class_names if class_names and len(class_names) == self.n_classes else None
        self.class_names = tuple(names or map(str, range(self.n_classes)))
        self.register_buffer("pooled_weight", _pooled_weight(self.head, features), persistent=False)
        self.to(memory_format=torch.channels_last)

    @property
    def input_size(self) -> int:
        """Side of the square input in pixels."""
        return self.preprocessing.input_size

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, C, h, w) of the target layer and logits (N, classes) of (N, 3, H, W)."""
        features = self.body(patches)
        return features, self.head(features)

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


def _pooled_weight(head: nn.Module, features: Tensor) -> Tensor | None:
    """The last linear layer's weight if the head is average pooling and that layer, else None.

    Tried rather than read from the modules' types: heads differ in how they are written down, and
    anything between pooling and layer (a norm, a second layer) shows in the output.
    """
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    if not layers or layers[-1].in_features != features.shape[1]:
        return None
    probe = torch.randn(4, *features.shape[1:], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        same = torch.allclose(head(probe), layers[-1](probe.mean((2, 3))), rtol=1e-3, atol=1e-4)
    return layers[-1].weight.detach() if same else None

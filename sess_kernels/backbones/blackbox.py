"""A classifier of which only input and output are known, for base methods that need no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sess_kernels.backbones.base import Backbone, Preprocessing
from sess_kernels.errors import SessError, one_line

_ROUNDING = 1e-2  # of a sum of probabilities; half precision loses that much

Classify = Callable[[Any], Any]
"""Images (N, 3, S, S) to logits or probabilities (N, classes), as NumPy arrays or tensors."""


class BlackBox(Backbone):
    """Any classifier callable, one that is not torch too (an ONNX Runtime session, say).

    It is called with device batches of one fixed size. Methods that look into a network
    (``gradcam``, ``gradient``) do not work with it; ``rise`` and black-box callables do.

    Args:
        classify: Called with normalised images ``float32 (N, 3, S, S)``, gives (N, classes).
        name: Name for messages and records.
        preprocessing: Input size, mean, standard deviation and interpolation.
        class_names: One name for each class; the index as text if not given.
        gives: ``"logits"``, or ``"probabilities"`` that sum to 1.
        arrays: Call it with NumPy arrays; with tensors if False.
        batch_size: Images of every call, where the classifier takes no other number.

    Raises:
        SessError: If a call fails, does not give one row for each image, or gives probabilities
            that are none.

    Example:
        >>> import numpy as np
        >>> def classify(images):
        ...     red = images[:, 0].mean((1, 2))
        ...     return np.stack([red, 1 - red], axis=1)
        >>> backbone = BlackBox(classify, name="red", gives="probabilities")
        >>> backbone.n_classes, backbone.scores(backbone(torch.ones(1, 3, 224, 224))[1]).tolist()
        (2, [[1.0, 0.0]])
    """

    def __init__(
        self,
        classify: Classify,
        *,
        name: str = "black box",
        preprocessing: Preprocessing | None = None,
        class_names: Sequence[str] | None = None,
        gives: Literal["logits", "probabilities"] = "logits",
        arrays: bool = True,
        batch_size: int | None = None,
    ) -> None:
        nn.Module.__init__(self)  # there is no network to split
        self.name, self.target_layer = name, ""
        self.preprocessing = preprocessing or Preprocessing()
        self.feature_shape = (0,)
        self._classify, self._gives, self._arrays = classify, gives, arrays
        self.register_buffer("_place", torch.empty(0), persistent=False)
        self.register_buffer("pooled_weight", None, persistent=False)
        self.register_buffer("groups", None, persistent=False)
        self.batch_size, size = batch_size, self.input_size
        self.n_classes = int(self(torch.zeros(batch_size or 2, 3, size, size))[1].shape[1])
        names = class_names if class_names and len(class_names) == self.n_classes else None
        self.class_names = tuple(names or map(str, range(self.n_classes)))

    @property
    def device(self) -> torch.device:
        """Where the images go to."""
        return self.get_buffer("_place").device

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """No features (N, 0) and the logits (N, classes) of (N, 3, S, S)."""
        given = patches.contiguous()
        try:
            found = self._classify(given.cpu().numpy() if self._arrays else given)
            logits = torch.as_tensor(found, dtype=torch.float32, device=patches.device)
        except Exception as error:  # it is the user's, and may raise anything
            raise SessError(f"{self.name} failed: {one_line(error)[:240]}") from error
        if logits.ndim != 2 or len(logits) != len(patches):
            raise SessError(
                f"{self.name} must give one row of classes for each of {len(patches)} images "
                f"but gave {tuple(logits.shape)}"
            )
        if self._gives == "probabilities":
            if bool((logits < 0).any() | ((logits.sum(1) - 1).abs() > _ROUNDING).any()):
                raise SessError(
                    f'{self.name} must give probabilities that sum to 1; say gives="logits" '
                    "if they are scores of another kind"
                )
            logits = logits.log()
        return patches.new_empty(len(patches), 0), logits

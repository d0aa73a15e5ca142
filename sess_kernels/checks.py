"""Checks before any patch is scored, and of what comes out."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from sess_kernels.backbones import Backbone, BlackBox
from sess_kernels.backbones.runtimes import RUNTIMES
from sess_kernels.config import SESSConfig
from sess_kernels.errors import SessError, unknown
from sess_kernels.precision import PRECISIONS
from sess_kernels.results import PatchScores
from sess_kernels.saliency import BaseMethod
from sess_kernels.windows import count


def check(
    backbone: Backbone,
    method: BaseMethod,
    precision: str = "fp32",
    batch_size: int | None = None,
    runtime: str = "torch",
    *,
    search: bool = False,
) -> None:
    """Raise ``SessError`` if this method cannot explain this backbone, or not so.

    Example:
        >>> from sess_kernels import load_backbone
        >>> from sess_kernels.saliency import base_method
        >>> check(load_backbone("lite0"), base_method("gradcam"), "half")
        Traceback (most recent call last):
        ...
        sess_kernels.errors.SessError: unknown precision 'half'; known: fp32, fast, bf16, fp16
    """
    if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
        raise SessError(f"batch_size must be a whole number of at least 1 but got {batch_size!r}")
    if precision not in PRECISIONS:
        raise SessError(unknown("precision", precision, PRECISIONS))
    if runtime not in RUNTIMES:
        raise SessError(unknown("runtime", runtime, RUNTIMES))
    if runtime == "openvino" and precision != "fp32":
        raise SessError(f"runtime openvino computes in fp32 but precision is {precision}; drop one")
    if isinstance(backbone, BlackBox):
        if method.needs_network:
            raise SessError(
                f"{method.title} looks into the network but {backbone.name} is a black box; "
                "use rise or a callable"
            )
        if search:
            raise SessError(f"{backbone.name} is a black box; a search looks into the network")
        if runtime != "torch":
            raise SessError(f"{backbone.name} is a black box; its runtime is its own, use torch")
        if precision != "fp32":
            raise SessError(f"{backbone.name} is a black box; its precision is its own, use fp32")
    method.check(backbone)


def check_classes(
    n_images: int, class_indices: Sequence[Sequence[int] | None], backbone: Backbone
) -> None:
    """Raise ``ValueError`` if there is not one list of the backbone's classes for each image.

    Example:
        >>> from sess_kernels.backbones import load_backbone
        >>> check_classes(1, [[1000]], load_backbone("lite0"))
        Traceback (most recent call last):
        ...
        ValueError: Expected classes of 0 to 999 but got 1000
    """
    if len(class_indices) != n_images:
        raise ValueError(f"Expected classes of {n_images} images but got {len(class_indices)}")
    for index in {index for given in class_indices for index in given or ()}:
        if not 0 <= index < backbone.n_classes:
            raise ValueError(f"Expected classes of 0 to {backbone.n_classes - 1} but got {index}")
        if index in backbone.without_outputs:
            name = backbone.class_names[index]
            raise ValueError(f"Expected a class with outputs but {index} ({name}) has none")


def check_scores(
    scores: Sequence[PatchScores], images: Sequence[Tensor], config: SESSConfig
) -> None:
    """Raise ``ValueError`` if scores do not belong to the patches of their image.

    Args:
        scores: Scores of each image.
        images: The images (3, H, W).
        config: Settings of SESS, with the window size set.

    Example:
        >>> import torch
        >>> scores, config = PatchScores((7,), torch.zeros(1, 5)), SESSConfig(scales=3)
        >>> check_scores([scores], [torch.zeros(3, 60, 60)], config.for_input(224))
        Traceback (most recent call last):
        ...
        ValueError: Expected scores (1, 9) of image 0 but got (1, 5); score it with this SESSConfig
    """
    for number, (one, image) in enumerate(zip(scores, images, strict=True)):
        height, width = image.shape[1:]
        expected = len(one.classes), count(height, width, config)
        if one.scores.shape != expected:
            raise ValueError(
                f"Expected scores {expected} of image {number} but got {tuple(one.scores.shape)}; "
                "score it with this SESSConfig"
            )


def check_finite(values: Tensor, what: str) -> None:
    """Raise ``SessError`` if a value is not finite: it would be taken for no evidence later.

    Example:
        >>> import torch
        >>> check_finite(torch.tensor([torch.nan]), "the scores of resnet")
        Traceback (most recent call last):
        ...
        sess_kernels.errors.SessError: the scores of resnet are not finite; ...
    """
    if not bool(values.isfinite().all()):
        raise SessError(f"{what} are not finite; check the weights, or use --precision fp32")

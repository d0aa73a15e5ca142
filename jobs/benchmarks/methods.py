"""Base methods that need more passes than scoring gives, beside those passes bare."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from jobs.benchmarks.measure import Row, Setting, alternate, bare, compared, plain_model
from sess_kernels import SESS, Backbone, SESSConfig
from sess_kernels.precision import exact_fp32
from sess_kernels.saliency.base import feature_gradient, image_gradient
from sess_kernels.saliency.groupcam import GroupCAM

_RATIO = 0.9


def methods(setting: Setting) -> list[Row]:
    """Guided-BP and Group-CAM beside their passes; Grad-CAM's backward beside the forward."""
    backbone = setting.load()
    rows = [_guided(setting, backbone, ratio) for ratio in (0.0, _RATIO)]
    return [*rows, _groupcam(setting, backbone), *_backward(setting, backbone)]


def passes(method: str, ratio: float, n_scored: int, n_kept: int) -> tuple[int, int]:
    """Patches that a method must send forward alone, and those forward and backward.

    Args:
        method: ``gradcam``, whose maps come with the scores, ``guided-backprop`` or ``groupcam``.
        ratio: The pre-filter ratio.
        n_scored: Patches that are scored.
        n_kept: Patches that are explained.

    Example:
        >>> passes("guided-backprop", 0.9, 81, 9), passes("guided-backprop", 0, 81, 81)
        ((81, 9), (0, 81))
        >>> passes("groupcam", 0.9, 81, 9)
        (378, 0)
    """
    if method == "guided-backprop":
        return (n_scored if ratio else 0), n_kept  # at r = 0 one forward serves both
    of_maps = {"gradcam": 0, "groupcam": GroupCAM().n_groups + 1}[method]
    return n_scored + of_maps * n_kept, 0


def _guided(setting: Setting, backbone: Backbone, ratio: float) -> Row:
    explain = _sess(setting, backbone, "guided-backprop", ratio)
    n_scored, n_kept = setting.patches(explain), _kept(setting, explain)
    forwards, gradients = passes("guided-backprop", ratio, n_scored, n_kept)
    scoring = bare(explain, forwards)
    images, classes = explain.score.fixed_batch, torch.ones(explain.batch_size, dtype=torch.long)

    def needed() -> None:
        scoring()
        with exact_fp32():
            for _ in range(-(-gradients // explain.batch_size)):
                image_gradient(backbone, images, classes.to(images.device))

    return _beside(setting, explain, needed, f"SESS Guided-BP, r = {ratio:g}")


def _groupcam(setting: Setting, backbone: Backbone) -> Row:
    explain = _sess(setting, backbone, "groupcam", _RATIO)
    n_scored, n_kept = setting.patches(explain), _kept(setting, explain)
    forwards, _ = passes("groupcam", _RATIO, n_scored, n_kept)
    return _beside(setting, explain, bare(explain, forwards), f"SESS Group-CAM, r = {_RATIO:g}")


def _backward(setting: Setting, backbone: Backbone) -> list[Row]:
    """The backward pass of Grad-CAM, through the head alone and through the whole network."""
    explain = _sess(setting, backbone, "gradcam", 0)
    images, size = explain.score.fixed_batch, explain.batch_size
    classes = torch.ones(size, dtype=torch.long, device=images.device)
    model = plain_model(setting.backbone).to(setting.device)
    layer = model.get_submodule(backbone.target_layer)

    def head() -> None:
        with torch.no_grad(), exact_fp32():
            features, _ = backbone(images)
            feature_gradient(backbone, features, classes)

    def whole() -> None:
        found: list[torch.Tensor] = []
        handle = layer.register_forward_hook(lambda *given: found.append(given[2]))
        with exact_fp32():
            chosen = model(images.clone().requires_grad_())[:, 1].sum()
        handle.remove()
        torch.autograd.grad(chosen, found[0])

    calls: dict[str, Callable[[], object]] = {
        "head": head,
        "whole": whole,
        "forward": bare(explain, size),
    }
    times = alternate(calls, max(20, setting.repeats), setting.device)
    titles = {
        "head": "forward and gradient of the features, through the head",
        "whole": "the same by autograd on the plain model",
    }
    return [
        compared(setting, title, "forward", (times[name], times["forward"]), size)
        for name, title in titles.items()
    ]


def _sess(setting: Setting, backbone: Backbone, method: str, ratio: float) -> SESS:
    config = SESSConfig(scales=setting.scales, pre_filter_ratio=ratio)
    return SESS(backbone, method, config, setting.batch_size)


def _kept(setting: Setting, explain: SESS) -> int:
    return explain.config.kept(setting.patches(explain) // setting.images) * setting.images


def _beside(setting: Setting, explain: SESS, needed: Callable[[], None], what: str) -> Row:
    images = setting.drawn()
    whole = partial(explain, images, [[1]] * len(images))
    calls: dict[str, Callable[[], object]] = {"needed": needed, "sess": whole}
    times = alternate(calls, setting.repeats, setting.device)
    pair = times["sess"], times["needed"]
    return compared(setting, what, "the passes it needs", pair, setting.patches(explain))

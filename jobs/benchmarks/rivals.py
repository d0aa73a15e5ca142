"""Grad-CAM of the same patches with other libraries, beside one bare forward of the patches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from jobs.benchmarks.measure import Row, Setting, alternate, bare, compared, plain_model
from sess_kernels import SESS, SESSConfig
from sess_kernels.precision import exact_fp32

_CLASS = 1


def rivals(setting: Setting) -> list[Row]:
    """SESS whole, and the base maps alone with each library that is installed."""
    config = SESSConfig(scales=setting.scales)
    explain = SESS(setting.load(), config=config, batch_size=setting.batch_size)
    images, n_patches, size = setting.drawn(), setting.patches(explain), explain.batch_size
    side = explain.backbone.input_size
    patches = torch.randn(-(-n_patches // size) * size, 3, side, side, device=setting.device)

    def fresh() -> torch.nn.Module:  # a library's hooks stay on its model and cost the others
        return plain_model(setting.backbone).to(setting.device)

    calls: dict[str, Callable[[], object]] = {
        "floor": bare(explain, n_patches),
        "SESS, whole": partial(explain, images, [[_CLASS]] * len(images)),
        "plain model, forward alone": partial(_in_batches, patches, size, partial(_plain, fresh())),
    }
    for name, make in _LIBRARIES.items():
        try:
            model = fresh()
            layer = model.get_submodule(explain.backbone.target_layer)
            calls[name] = partial(_in_batches, patches, size, make(model, layer))
        except ImportError:
            continue  # the rest of the table stands without it
    times = alternate(calls, setting.repeats, setting.device)
    floor = times.pop("floor")
    return [
        compared(setting, name, "its forwards", (found, floor), n_patches)
        for name, found in times.items()
    ]


def _in_batches(patches: Tensor, size: int, explain: Callable[[Tensor], object]) -> None:
    with exact_fp32():
        for batch in torch.split(patches, size):
            explain(batch)


def _plain(model: torch.nn.Module, batch: Tensor) -> object:
    with torch.no_grad():
        return model(batch)


def _pytorch_grad_cam(model: torch.nn.Module, layer: torch.nn.Module) -> Callable[[Tensor], object]:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    cam = GradCAM(model, [layer])

    def explain(batch: Tensor) -> object:
        # its parameters frozen, the input must ask for the graph; with them it costs more still
        return cam(batch.clone().requires_grad_(), [ClassifierOutputTarget(_CLASS)] * len(batch))

    return explain


def _captum(model: torch.nn.Module, layer: torch.nn.Module) -> Callable[[Tensor], object]:
    from captum.attr import LayerGradCam

    cam = LayerGradCam(model, layer)
    return lambda batch: cam.attribute(batch.clone().requires_grad_(), _CLASS)


def _torchcam(model: torch.nn.Module, layer: torch.nn.Module) -> Callable[[Tensor], object]:
    from torchcam.methods import GradCAM

    cam = GradCAM(model, layer)

    def explain(batch: Tensor) -> object:
        return cam([_CLASS] * len(batch), model(batch.clone().requires_grad_()))

    return explain


_LIBRARIES = {
    "pytorch-grad-cam, base maps": _pytorch_grad_cam,
    "captum, base maps": _captum,
    "torchcam, base maps": _torchcam,
}

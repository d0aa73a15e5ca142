"""Runtimes: other programs than eager torch for forwards of one fixed device batch.

Where nothing is differentiated a network is a fixed program on fixed shapes, which a compiler or
an inference engine runs faster. Bits differ from eager torch's, by about 1e-5 of a logit; within a
runtime they are as constant as torch's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from sess_kernels.backbones.base import Backbone, FixedForward
from sess_kernels.errors import SessError, one_line, unknown
from sess_kernels.precision import exact_fp32

Forward = Callable[[Tensor], tuple[Tensor, Tensor]]

RUNTIMES = ("torch", "compile", "openvino")
"""``torch``: eager; ``compile``: ``torch.compile``; ``openvino``: OpenVINO, on CPUs in float32."""


def with_runtime(
    backbone: Backbone, runtime: str, batch_size: int, dtype: torch.dtype | None = None
) -> Backbone:
    """The backbone with its forwards without autograd on a runtime; parameters are shared.

    Args:
        backbone: The classifier.
        runtime: One of ``RUNTIMES``.
        batch_size: Patches of a device batch; other batches go through eager torch.
        dtype: Compute in this type, on parameters of its own; as the backbone does if not given.

    Returns:
        The backbone itself with ``torch`` and no type, else another one.

    Raises:
        SessError: If the runtime is unknown, not installed, or cannot run the backbone.

    Example:
        >>> from sess_kernels import load_backbone
        >>> backbone = load_backbone("lite0")
        >>> with_runtime(backbone, "torch", batch_size=4) is backbone
        True
    """
    if runtime not in RUNTIMES:
        raise SessError(unknown("runtime", runtime, RUNTIMES))
    if dtype is not None:
        backbone = copy.deepcopy(_plain(backbone)).to(dtype)
    if runtime == "torch":
        return backbone
    found, side = _plain(backbone), backbone.input_size
    patches = torch.rand(batch_size, 3, side, side, generator=torch.Generator().manual_seed(0))
    patches = patches.to(found.device, dtype).contiguous(memory_format=torch.channels_last)
    build = {"compile": _compiled, "openvino": _openvino}[runtime]
    try:
        with torch.no_grad(), exact_fp32():
            call = build(found, torch.zeros_like(patches))
            _compare(found, call(patches)[1], found(patches)[1])
    except SessError:
        raise
    except Exception as error:  # compilers and converters raise anything
        raise SessError(
            f"runtime {runtime} cannot run {found.name}: {type(error).__name__}: "
            f"{one_line(error)[:160]}; use runtime torch"
        ) from error
    found.fixed_forward = FixedForward(patches.shape, patches.dtype, call)
    return found


def check_installed(runtime: str) -> None:
    """Raise ``SessError`` if the package of a runtime is missing.

    Example:
        >>> check_installed("torch")
    """
    if runtime == "openvino" and find_spec("openvino") is None:
        raise SessError('runtime openvino needs its package: pip install "sess-pipeline[openvino]"')


def _plain(backbone: Backbone) -> Backbone:
    """A backbone without a runtime that shares the parameters."""
    found = copy.copy(backbone)
    found.fixed_forward = None
    return found


def _compare(backbone: Backbone, found: Tensor, expected: Tensor) -> None:
    """What a tracer does not see it writes down as a constant, and no one is told."""
    off = (found - expected).abs().max() / expected.abs().max().clamp_min(1e-6)
    if not off <= (1e-3 if expected.dtype == torch.float32 else 0.1):
        raise ValueError(f"its logits differ from torch's by {float(off):.1%} of the largest")


def _compiled(backbone: Backbone, _: Tensor) -> Forward:
    # each half by itself: its code is its own, and of one code few variants can be compiled
    body, head = (
        torch.compile(half, fullgraph=True, dynamic=False)
        for half in (backbone.body, backbone.head)
    )

    def forward(patches: Tensor) -> tuple[Tensor, Tensor]:
        features = body(patches)
        return features, head(features)

    return forward


def _openvino(backbone: Backbone, patches: Tensor) -> Forward:
    if patches.device.type != "cpu" or patches.dtype != torch.float32:
        raise SessError(
            f"runtime openvino runs float32 on CPUs but {backbone.name} is {patches.dtype} on "
            f"{patches.device.type}; use runtime torch or compile"
        )
    planes = len(backbone.feature_shape) == 3  # (C, h, w), unless channels are last already
    planes = planes and backbone.feature_shape[1] == backbone.feature_shape[2]
    request = _request(backbone, patches, planes)

    def forward(patches: Tensor) -> tuple[Tensor, Tensor]:
        rows = patches.permute(0, 2, 3, 1).contiguous().numpy()  # no copy of channels last
        found = request.infer([rows], share_inputs=True)
        features, logits = torch.from_numpy(found[0]), torch.from_numpy(found[1])
        return features.permute(0, 3, 1, 2) if planes else features, logits

    return forward


def _request(backbone: Backbone, patches: Tensor, planes: bool) -> Any:
    check_installed("openvino")
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    from openvino.preprocess import PrePostProcessor

    # not openvino.convert_model, which tells its makers of every use
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(backbone, example_input=(patches,))  # must outlive the next
    model = frontend.convert(frontend.load(decoder))
    model.reshape(list(patches.shape))
    steps = PrePostProcessor(model)
    ends = [steps.input(0), steps.output(0)] if planes else [steps.input(0)]
    for end in ends:
        end.model().set_layout(openvino.Layout("NCHW"))
        end.tensor().set_layout(openvino.Layout("NHWC"))
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,  # workers share the cores
    }
    compiled = openvino.Core().compile_model(steps.build(), "CPU", settings)
    return compiled.create_infer_request()

"""Bare passes through a network, eager and compiled, and how fast the device could be at best."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from jobs.benchmarks.measure import Setting, alternate
from sess_kernels import Backbone
from sess_kernels.errors import one_line
from sess_kernels.precision import exact_fp32

NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16"}
_MODE = "max-autotune-no-cudagraphs"  # of torch.compile on CUDA
_PRODUCTS = {"cuda": (8192, 8), "cpu": (512, 1)}  # side of the matrices, times in a measurement

Call = Callable[[], object]


class Pass(NamedTuple):
    """Patches through the network.

    Attributes:
        dtype: Of network and patches.
        backward: Whether the gradient by the patches is wanted too.
        patches: How many.
    """

    dtype: torch.dtype
    backward: bool
    patches: int


class Bare:
    """The passes of one backbone and nothing around them.

    Args:
        backbone: The classifier, in float32.
        setting: Gives device and repeats.
    """

    def __init__(self, backbone: Backbone, setting: Setting) -> None:
        self._device, self._repeats = setting.device, setting.repeats
        self._backbone = backbone
        self._logits = {torch.float32: _logits(backbone)}
        self._compiled: dict[torch.dtype, Callable[[Tensor], Tensor]] = {}
        self._tried: dict[tuple[torch.dtype, bool], tuple[float, str]] = {}
        self._flops: dict[bool, float] = {}
        self._rates: dict[torch.dtype, float] = {}

    def eager(self, needed: Sequence[Pass], batch: Tensor) -> Call:
        """The passes in full device batches.

        Args:
            needed: The passes.
            batch: A device batch (N, 3, S, S) in float32.
        """
        return self._calls(needed, batch, self._network)

    def compiled(self, needed: Sequence[Pass], batch: Tensor) -> tuple[Call | None, str]:
        """The same compiled, and compiled already; or why there is none, in one line."""
        for one in needed:
            if fault := self._try(one, batch):
                return None, fault
        return self._calls(needed, batch, self._compiled.__getitem__), ""

    def flops(self, needed: Sequence[Pass]) -> float:
        """Floating point operations of the passes, of matrix products and convolutions."""
        return sum(one.patches * self._flops_of_patch(one.backward) for one in needed)

    def best_seconds(self, needed: Sequence[Pass]) -> float:
        """What the passes would take at the rate of a large matrix product of their type."""
        return sum(self.flops([one]) / self.rate(one.dtype) for one in needed)

    def rate(self, dtype: torch.dtype) -> float:
        """Floating point operations a second of a large matrix product, measured once."""
        if dtype not in self._rates:
            side, times = _PRODUCTS[self._device.partition(":")[0]]
            left, right = (torch.randn(side, side, device=self._device).to(dtype) for _ in "ab")
            out = torch.empty_like(left)

            @exact_fp32()
            def multiply() -> None:
                for _ in range(times):
                    torch.mm(left, right, out=out)

            found = alternate({"matmul": multiply}, self._repeats, self._device)["matmul"]
            self._rates[dtype] = times * 2 * side**3 / statistics.median(found)
        return self._rates[dtype]

    def compile_seconds(self, needed: Sequence[Pass]) -> float:
        """What compiling the passes took, with their first run."""
        return sum(self._tried[one.dtype, one.backward][0] for one in needed)

    def _network(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        if dtype not in self._logits:
            self._logits[dtype] = _logits(copy.deepcopy(self._backbone).to(dtype))
        return self._logits[dtype]

    def _try(self, one: Pass, batch: Tensor) -> str:
        """Compile a pass by running it, once; what went wrong, if anything."""
        key = one.dtype, one.backward
        if key in self._tried:
            return self._tried[key][1]
        began, fault = time.perf_counter(), ""
        try:
            self._compile(one.dtype)
            run = self._calls([one._replace(patches=1)], batch, self._compiled.__getitem__)
            run()
            if batch.is_cuda:
                torch.cuda.synchronize()
        except Exception as error:  # no compiler, no memory: compilers raise anything
            fault = f"{type(error).__name__}: {one_line(error)}"[:240]
        self._tried[key] = time.perf_counter() - began, fault
        return fault

    def _compile(self, dtype: torch.dtype) -> None:
        if not self._compiled:
            torch.compiler.reset()  # of one function it compiles few variants, and then no more
        if dtype not in self._compiled:
            mode = _MODE if self._device.startswith("cuda") else None
            network = self._network(dtype)
            self._compiled[dtype] = torch.compile(network, fullgraph=True, dynamic=False, mode=mode)

    def _calls(
        self,
        needed: Sequence[Pass],
        batch: Tensor,
        network: Callable[[torch.dtype], Callable[[Tensor], Tensor]],
    ) -> Call:
        size = len(batch)
        work = [
            (network(one.dtype), batch.to(one.dtype), one.backward, -(-one.patches // size))
            for one in needed
        ]
        classes = torch.ones(size, dtype=torch.long, device=batch.device)

        @exact_fp32()
        @torch.no_grad()
        def run() -> None:
            for logits, images, backward, n_batches in work:
                for _ in range(n_batches):
                    if backward:
                        self._gradient(logits, images, classes)
                    else:
                        logits(images)

        return run

    @torch.enable_grad()
    def _gradient(
        self, logits: Callable[[Tensor], Tensor], images: Tensor, classes: Tensor
    ) -> Tensor:
        leaf = images.detach().requires_grad_()
        given = leaf.view_as(leaf)  # the counter of FLOPs takes no leaf
        target = self._backbone.target(logits(given), classes).sum()
        return torch.autograd.grad(target, leaf)[0]

    def _flops_of_patch(self, backward: bool) -> float:
        if backward not in self._flops:
            side = self._backbone.input_size
            one = torch.zeros(1, 3, side, side, device=self._device)
            call = self._calls([Pass(torch.float32, backward, 1)], one, self._network)
            with FlopCounterMode(display=False) as counter:
                call()
            self._flops[backward] = float(counter.get_total_flops())
        return self._flops[backward]


def _logits(network: Any) -> Callable[[Tensor], Tensor]:
    def logits(images: Tensor) -> Tensor:
        """The logits alone: a compiled network need not write its features down."""
        found: Tensor = network(images)[1]
        return found

    return logits

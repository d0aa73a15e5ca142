"""What the stages with a backbone share: the kernel, pixels of rows, faults of single images."""

from __future__ import annotations

import gc
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Self, TypeVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from pipeline.config import RunConfig
from pipeline.stages.backbone import BackboneSpec
from sess_kernels import SESS, Backbone

T = TypeVar("T")
Pixels = NDArray[np.uint8]

_PAUSES = (0.0, 1.0, 4.0)  # another process may have the device's memory for a while


def kernel(backbone: Backbone, config: RunConfig) -> SESS:
    """The kernel that a run's settings describe.

    Raises:
        SessError: If method, backbone and settings do not go together.
    """
    return SESS(
        backbone,
        config.method,
        config,
        config.batch_size,
        config.precision,
        config.method_options,
        config.runtime,
    )


class KernelStage(ABC):
    """A stage with a backbone, warmed up.

    Args:
        backbone: The loaded backbone.
        config: Settings of the run.

    Attributes:
        config: The settings.
        sess: The kernel.
    """

    def __init__(self, backbone: Backbone, config: RunConfig) -> None:
        torch.set_num_threads(config.threads)
        self.config = config
        self.sess = kernel(backbone, config)
        while True:
            try:
                with torch.no_grad():
                    self.sess.score.floor(1)
                break
            except torch.OutOfMemoryError:
                if not self._halve():
                    raise

    @classmethod
    def load(cls, backbone: BackboneSpec, config: RunConfig, device: str) -> Self:
        """The stage with a backbone that is loaded here."""
        return cls(backbone.load(device), config)

    def each(
        self, call: Callable[[Sequence[int]], Sequence[T]], items: Sequence[int]
    ) -> list[T | Exception]:
        """What ``each`` gives; items for which the device lacks memory get half the device batch.

        And half of that again. Where it helps it stays so for what follows; bits differ from there.
        """
        size, found = self.sess.batch_size, each(call, items)
        for place, item in enumerate(items):
            fault = found[place]
            if isinstance(fault, torch.OutOfMemoryError) and self.sess.batch_size < size:
                fault = found[place] = each(call, [item])[0]  # an earlier one has halved it
            if isinstance(fault, torch.OutOfMemoryError):
                found[place] = self._with_less(call, item, fault)
        return found

    def _with_less(
        self, call: Callable[[Sequence[int]], Sequence[T]], item: int, fault: Exception
    ) -> T | Exception:
        size, found = self.sess.batch_size, fault
        while self._halve():
            try:
                return call([item])[0]
            except torch.OutOfMemoryError as error:
                found = error.with_traceback(None)
            except Exception as error:
                found = error
                break
        self._resize(size)  # it was not the batch
        return found

    def _halve(self) -> bool:
        """Take half the device batch, if there is one and the classifier takes another number."""
        size = self.sess.batch_size
        if size == 1 or self.sess.backbone.batch_size:
            return False
        self._resize(size // 2)
        return True

    def _resize(self, batch_size: int) -> None:
        backbone = self.sess.backbone
        if batch_size != self.sess.batch_size:
            del self.sess  # and the memory of its buffers
            _free()
            self.sess = kernel(backbone, replace(self.config, batch_size=batch_size))

    @abstractmethod
    def __call__(self, rows: pa.Table) -> pa.Table:
        """Work on the rows."""

    @abstractmethod
    def failed(self, rows: pa.Table, reason: str) -> pa.Table:
        """What comes out where the rows fail for a reason."""

    def use_threads(self) -> None:
        """Set the threads of this thread's operations; it may be another than the constructor's."""
        torch.set_num_threads(self.config.threads)


def pixels_of(decoded: pa.Table, rows: Sequence[int]) -> list[Pixels]:
    """The images (H, W, 3) of some rows of ``DECODED_SCHEMA``, not copied."""
    heights, widths = (decoded[side].to_numpy() for side in ("height", "width"))
    images = []
    for i in rows:
        buffer = decoded["pixels"][i].as_buffer()
        images.append(np.frombuffer(buffer, np.uint8).reshape(heights[i], widths[i], 3))
    return images


def good_rows(rows: pa.Table) -> list[int]:
    """Positions of the rows without an error."""
    return [i for i, error in enumerate(rows["error"].to_pylist()) if error is None]


def each(call: Callable[[Sequence[int]], Sequence[T]], items: Sequence[int]) -> list[T | Exception]:
    """What a call gives for all items at once; where it raises, for one after the other.

    Memory that the device lacks may be there a little later, or for a single image.

    Example:
        >>> each(lambda items: [10 // item for item in items], [5, 0, 2])
        [2, ZeroDivisionError('integer division or modulo by zero'), 5]
    """
    if not items:
        return []
    try:
        return list(call(items))
    except Exception as error:
        if len(items) == 1 and not isinstance(error, torch.OutOfMemoryError):
            return [error]
    return [_alone(call, item) for item in items]


def _alone(call: Callable[[Sequence[int]], Sequence[T]], item: int) -> T | Exception:
    fault: Exception | None = None
    for pause in _PAUSES:
        try:
            return call([item])[0]
        except torch.OutOfMemoryError as error:
            fault = error.with_traceback(None)  # it holds what filled the memory
            _free()
            time.sleep(pause)
        except Exception as error:
            return error
    assert fault is not None
    return fault


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

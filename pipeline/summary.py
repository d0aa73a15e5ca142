"""Counts, times and rates of a run."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.engines import BatchDone


@dataclass
class Summary:
    """Counts and times of a run.

    Attributes:
        images: Rows written, those of an earlier run that was resumed among them.
        failed: Rows of them with an error.
        patches: Patches of these images.
        plan_s: Seconds to check, list and plan.
        run_s: Seconds of the engine, its start included.
        resumed: Rows that were there when this run began.
        device: Kind of device the backbone workers ran on.
        batch_size: Patches of a device batch.
        smallest_batch: The same of the worker that had the least memory.
        device_batches: Device batches of the backbone workers.
        full_batches: Those of them without padding.
        forwards: Patches that went through the backbone for scores or features in this run.
        was_complete: Whether everything was there and nothing was run.
    """

    images: int = 0
    failed: int = 0
    patches: int = 0
    plan_s: float = 0.0
    run_s: float = 0.0
    resumed: int = 0
    device: str = ""
    batch_size: int = 0
    smallest_batch: int = 0
    device_batches: int = 0
    full_batches: int = 0
    forwards: int = 0
    was_complete: bool = False
    _told_failed: int = field(default=0, repr=False)
    _told_images: int = field(default=0, repr=False)
    _told_patches: int = field(default=0, repr=False)
    _began: float = field(default=math.inf, repr=False)
    _last: float = field(default=0.0, repr=False)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Summary:
        """The summary that ``to_dict`` gave, without the rates."""
        known = {name for name in cls.__dataclass_fields__ if not name.startswith("_")}
        return cls(**{name: value for name, value in values.items() if name in known})

    def add(self, done: BatchDone) -> None:
        """Count a finished batch."""
        self.images += done.images
        self.failed += done.failed
        self.patches += done.patches
        self._told_images += done.images
        self._told_patches += done.patches
        self._told_failed += done.failed
        self.device_batches += done.device_batches
        self.full_batches += done.full_batches
        self.forwards += done.forwards
        self.device = done.device
        self.batch_size = max(self.batch_size, done.batch_size)
        self.smallest_batch = min(self.smallest_batch or done.batch_size, done.batch_size)
        if done.images:
            self._began = min(self._began, done.started)
        self._last = max(self._last, done.finished)

    @property
    def told(self) -> tuple[int, int]:
        """Rows of this run that workers have told of, and those of them that failed."""
        return self._told_images, self._told_failed

    @property
    def saved(self) -> float:
        """Share of the patches of this run whose forward ``search`` has saved; 0 without."""
        if not (self.forwards and self._told_patches):
            return 0.0
        return max(0.0, 1 - self.forwards / self._told_patches)

    def to_dict(self) -> dict[str, Any]:
        """The counts, the times, and the rates since the first batch began: a worker was up."""
        counts = {k: v for k, v in asdict(self).items() if not k.startswith("_")}
        seconds = self._last - self._began if self._told_images else 0.0
        return counts | {
            "forwards_saved": self.saved,
            "images_per_s": self._told_images / seconds if seconds else 0.0,
            "patches_per_s": self._told_patches / seconds if seconds else 0.0,
        }

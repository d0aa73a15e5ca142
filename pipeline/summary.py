"""Counts, times and rates of a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.engines import BatchDone


@dataclass
class Summary:
    """Counts and times of a run.

    Attributes:
        images: Rows written.
        failed: Rows of them with an error.
        patches: Patches scored.
        plan_s: Seconds to check, list and plan.
        run_s: Seconds of the engine, its start included.
        device: Kind of device the backbone workers ran on.
        batch_size: Patches of a device batch.
    """

    images: int = 0
    failed: int = 0
    patches: int = 0
    plan_s: float = 0.0
    run_s: float = 0.0
    device: str = ""
    batch_size: int = 0
    _told_images: int = field(default=0, repr=False)
    _told_patches: int = field(default=0, repr=False)
    _first: BatchDone | None = field(default=None, repr=False)
    _last: float = field(default=0.0, repr=False)

    def add(self, done: BatchDone) -> None:
        """Count a finished batch."""
        self.images += done.images
        self.failed += done.failed
        self.patches += done.patches
        self._told_images += done.images
        self._told_patches += done.patches
        self.device, self.batch_size = done.device, done.batch_size
        if self._first is None or done.finished < self._first.finished:
            self._first = done
        self._last = max(self._last, done.finished)

    def to_dict(self) -> dict[str, Any]:
        """The counts, the times, and the rates after start-up."""
        counts = {k: v for k, v in asdict(self).items() if not k.startswith("_")}
        images, patches, seconds = self._after_start()
        return counts | {
            "images_per_s": images / seconds if seconds else 0.0,
            "patches_per_s": patches / seconds if seconds else 0.0,
        }

    def _after_start(self) -> tuple[int, int, float]:
        """Images, patches and seconds since the first batch ended; of it, if it was the only one.

        By then the workers are up, whatever the engine.
        """
        first = self._first
        if first is None:
            return 0, 0, 0.0
        if self._told_images == first.images:
            return first.images, first.patches, first.finished - first.started
        return (
            self._told_images - first.images,
            self._told_patches - first.patches,
            self._last - first.finished,
        )

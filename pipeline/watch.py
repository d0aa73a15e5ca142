"""Watch over a run: counts what is done, and stops it where it fails wholesale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.engines import BatchDone, Placement
from pipeline.summary import Summary
from sess_kernels.errors import SessError

_ENOUGH = 100  # rows, before a percentage of them says anything


class RunWatch:
    """What an engine tells of a run, and asks; see ``engines.base.Watch``.

    Args:
        summary: Counts go here.
        max_errors: Failed rows, or percent of the rows as ``20%``, above which the run stops.
        earlier: Device and batch size of the run that is resumed, if it got so far.
        on_placed: Told where the run goes.
        on_batch: Told of every finished batch, from any thread.

    Example:
        >>> watch = RunWatch(Summary(), max_errors=1)
        >>> watch.done(BatchDone(3, 2, 0, "cpu", 4, 0.0, 1.0))
        >>> watch.stop()
        '2 of 3 rows failed, more than --max-errors 1; see `sess status`'
    """

    def __init__(
        self,
        summary: Summary,
        max_errors: int | str,
        earlier: dict[str, Any] | None = None,
        on_placed: Callable[[Placement], None] = lambda placement: None,
        on_batch: Callable[[BatchDone], None] = lambda done: None,
    ) -> None:
        self._summary = summary
        self._max_errors = str(max_errors)
        self._earlier = earlier
        self._on_placed, self._on_batch = on_placed, on_batch
        self._why: str | None = None

    def placed(self, placement: Placement) -> None:
        """Check that the maps to come have the bits of those that are there."""
        for name, value in (self._earlier or {}).items():
            if (now := getattr(placement, name)) != value:
                raise SessError(
                    f"the run was begun with {name} {value}, but this would go on with {now}, and "
                    f"maps would differ in their last bits; give another --out, or --overwrite"
                )
        self._on_placed(placement)

    def done(self, batch: BatchDone) -> None:
        """Count a batch."""
        self._summary.add(batch)
        self._on_batch(batch)
        rows, failed = self._summary.told
        if self._is_too_much(rows, failed):
            self.end(
                f"{failed} of {rows} rows failed, more than --max-errors {self._max_errors}; "
                "see `sess status`"
            )

    def stop(self) -> str | None:
        """Why the run is to stop, if it is."""
        return self._why

    def end(self, why: str) -> None:
        """Have the run stop."""
        self._why = self._why or why

    def _is_too_much(self, rows: int, failed: int) -> bool:
        if self._max_errors.endswith("%"):
            return rows >= _ENOUGH and 100 * failed > float(self._max_errors[:-1]) * rows
        return failed > int(self._max_errors)

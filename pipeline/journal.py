"""Journal of what is being worked on, so that a batch that kills its worker is known again.

A worker leaves a mark before a batch and takes it away behind it. A mark that is there already was
left by a worker that died: the batch then goes row by row, each row with a mark of its own, and a
row on which a worker has died twice is not tried a third time. Exceptions need no journal.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from pipeline.files import Folder
from pipeline.layout import JOURNAL_FOLDER

DEATHS = 2  # of workers on one row; one may be a machine that was taken away


class Stage(Protocol):
    """A step of the pipeline: a table of rows in, a table of as many rows out."""

    def __call__(self, rows: pa.Table, /) -> pa.Table:
        """Work on the rows."""

    def failed(self, rows: pa.Table, /, reason: str) -> pa.Table:
        """What comes out where the rows fail for a reason."""


@dataclass(frozen=True)
class Journal:
    """Runs batches through a stage, with marks.

    Attributes:
        out: Folder of the run.
        name: Name of the stage.
        timeout: Seconds after which a batch that has not ended ends its process; only for worker
            processes of their own.
    """

    out: Folder
    name: str
    timeout: float | None = None

    def run(self, stage: Stage, rows: pa.Table) -> pa.Table:
        """The rows behind the stage; those that kill their worker again and again fail.

        Args:
            stage: What to run.
            rows: Rows that one worker gets together, with the column ``row``.
        """
        if not rows.num_rows:
            return stage(rows)
        mark = f"{self.name}-from-{rows['row'][0].as_py()}"
        if self._marks(mark):
            parts = [self._alone(stage, rows.slice(i, 1)) for i in range(rows.num_rows)]
            result = pa.concat_tables(parts)
        else:
            self._leave(mark, 1)
            with _deadline(self.timeout):
                result = stage(rows)
        self._folder.remove(mark)
        return result

    def _alone(self, stage: Stage, row: pa.Table) -> pa.Table:
        mark = f"{self.name}-row-{row['row'][0].as_py()}"
        deaths = self._marks(mark)
        if deaths >= DEATHS:
            slow = f", or took longer than {self.timeout:g} s" if self.timeout else ""
            reason = f"its worker ({self.name}) died on it {deaths} times{slow}"
            return stage.failed(row, f"{reason}; mend the cause, then run `sess retry`")
        self._leave(mark, deaths + 1)
        with _deadline(self.timeout):
            result = stage(row)
        self._folder.remove(mark)
        return result

    def _marks(self, mark: str) -> int:
        try:
            return int(self._folder.read(mark) or 1)
        except FileNotFoundError:
            return 0

    def _leave(self, mark: str, deaths: int) -> None:
        self._folder.write(mark, str(deaths).encode(), sync=False)

    @property
    def _folder(self) -> Folder:
        return self.out / JOURNAL_FOLDER


@contextmanager
def _deadline(seconds: float | None) -> Iterator[None]:
    """End this process if what follows hangs; also where a library holds the interpreter."""
    if seconds is None:
        yield
        return
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()

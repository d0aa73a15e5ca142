"""The progress lines of a run, an export and an evaluation."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pipeline.engines import BatchDone, Placement
from pipeline.scheduler import Plan


class _Images(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.fields['images']}/{task.fields['of']} images")


class _Patches(ProgressColumn):
    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        return Text(f"{task.fields['rate']:.1f} patches/s")


class _OneLine:
    """A bar on stderr between what is done and the time left; nothing where no one looks."""

    def __init__(self, show: bool, *columns: ProgressColumn) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            *columns,
            TimeRemainingColumn(),
            console=console,
            disable=not (show and console.is_terminal),
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()


class ImagesProgress(_OneLine):
    """Images done and time left, on stderr.

    Args:
        what: What is done to them.
        show: Whether to show anything.
    """

    def __init__(self, what: str, show: bool = True) -> None:
        super().__init__(show, MofNCompleteColumn(), TextColumn("images"))
        self._what = what
        self._task = self._progress.add_task("looking", total=None)

    def begin(self, images: int) -> None:
        """There are so many images."""
        self._progress.update(self._task, description=self._what, total=images)

    def done(self, images: int = 1) -> None:
        """Some images are done."""
        self._progress.advance(self._task, images)


class RunProgress(_OneLine):
    """Images done, patches per second and time left, on stderr; the bar counts patches.

    Args:
        show: Whether to show anything.
    """

    def __init__(self, show: bool = True) -> None:
        super().__init__(show, _Images(), _Patches())
        self._task = self._progress.add_task("planning", total=None, images=0, of="?", rate=0.0)
        self._images = 0
        self._failed = 0
        self._patches = 0
        self._began = 0.0

    def planned(self, plan: Plan) -> None:
        """The plan is known; the engine starts."""
        self._progress.update(
            self._task, description="starting", total=max(plan.n_patches, 1), of=plan.n_images
        )

    def placed(self, placement: Placement) -> None:
        """It is known where the run goes."""
        pools = ", ".join(_workers(*pool) + f" {name}" for name, pool in placement.workers.items())
        if not self._progress.disable:
            where = f"{pools} on {placement.device}"
            said = f"{where}, topology {placement.topology}: {placement.why}"
            self._progress.console.print(said, style="dim")

    def done(self, batch: BatchDone) -> None:
        """A batch has ended."""
        self._began = self._began or batch.started
        self._images += batch.images
        self._failed += batch.failed
        self._patches += batch.patches
        failed = f" ({self._failed} failed)" if self._failed else ""
        self._progress.update(
            self._task,
            description=f"running{failed}",
            completed=self._patches,
            images=self._images,
            rate=self._patches / max(time.time() - self._began, 1e-6),
        )


def _workers(least: int, most: int) -> str:
    return f"{most} workers for" if least == most else f"{least} to {most} workers for"

"""``sess run``: plan and run."""

from __future__ import annotations

import itertools
import json as json_
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from jobs.listed import left_out
from jobs.progress import RunProgress
from pipeline import RunConfig, Summary
from pipeline import run as run_pipeline
from pipeline.read import read_rows
from pipeline.records import FAILED
from pipeline.scheduler import Plan

Flag = Annotated[bool, Parameter(negative="")]
_SHOWN_FAULTS = 5


def run(
    source: str,
    /,
    *,
    out: str,
    settings: Annotated[RunConfig, Parameter(name="*")] | None = None,
    config: Path | None = None,
    overwrite: Flag = False,
    quiet: Flag = False,
    json: Flag = False,
) -> int:
    """Turn the images of SOURCE into class saliency maps in OUT, or go on with a run there.

    Example: sess run photos --labels predicted --scales 10 --out maps

    Args:
        source: Folder of images, or a table (.csv, .jsonl, .parquet) with the columns image and
            label; its kind may be said: folder:DIR, table:FILE.
        out: Folder for the maps (maps/*.parquet), the plan and run.json.
        settings: Settings of the run.
        config: YAML file with any of these settings; flags win.
        overwrite: Replace an earlier run in OUT.
        quiet: Print nothing but faults.
        json: Print the summary as JSON.
    """
    with RunProgress(show=not (quiet or json)) as progress:

        def planned(plan: Plan) -> None:
            progress.planned(plan)
            for line in [] if quiet else left_out(plan):
                print(f"note: {line}", file=sys.stderr)

        summary = run_pipeline(
            source,
            out,
            settings,
            overwrite=overwrite,
            on_plan=planned,
            on_placed=progress.placed,
            on_batch=progress.done,
        )
    return report(summary, out, quiet=quiet, json=json)


def report(summary: Summary, out: str, *, quiet: bool = False, json: bool = False) -> int:
    """Tell what a run did, and return its exit code."""
    if json:
        print(json_.dumps(summary.to_dict() | {"out": out}))
    elif not quiet:
        show_summary(summary, out)
    return 1 if summary.failed else 0


def _halved(summary: Summary) -> str:
    small = summary.smallest_batch
    return (
        f"device memory was short: batches of {small} in place of {summary.batch_size}, and maps "
        f"made so differ in their last bits; give --batch-size {small} to have all alike"
    )


def show_summary(summary: Summary, out: str) -> None:
    """Print the table at the end of a run, and the first of the rows that failed."""
    values = summary.to_dict()
    table = Table(title="sess run", title_justify="left", show_header=False)
    resumed = f", {summary.resumed} of an earlier run" if summary.resumed else ""
    table.add_row("images", f"{summary.images} ({summary.failed} failed{resumed})")
    table.add_row("patches", f"{summary.patches}")
    if summary.saved:
        saved = f"{summary.forwards}, {summary.saved:.1%} saved by an approximate search"
        table.add_row("forwards", saved)
    if summary.device_batches:
        full = summary.full_batches / summary.device_batches
        table.add_row("device batches", f"{summary.device_batches}, {full:.1%} full")
    if summary.smallest_batch < summary.batch_size:
        table.add_row("memory", _halved(summary))
    if summary.was_complete:
        table.add_row("run", "complete already; nothing was done")
    else:
        speed = f"{values['images_per_s']:.2f} images/s, {values['patches_per_s']:.1f} patches/s"
        table.add_row("speed", speed)
        table.add_row("time", f"{summary.plan_s:.1f} s plan, {summary.run_s:.1f} s run")
    table.add_row("maps", out)
    Console().print(table)
    if summary.failed:
        failed = (row for row in read_rows(out) if row["status"] == FAILED)
        for row in itertools.islice(failed, _SHOWN_FAULTS):
            print(f"failed: {row['image_id']}: {row['error']}", file=sys.stderr)
        if summary.failed > _SHOWN_FAULTS:
            print(f"failed: ... {summary.failed - _SHOWN_FAULTS} more", file=sys.stderr)

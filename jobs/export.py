"""``sess export``: the maps of a run as labels that training programs read."""

from __future__ import annotations

import json as json_
import sys
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from jobs.progress import ImagesProgress
from jobs.run import Flag
from pipeline.export import export as export_labels
from pipeline.exports.config import ExportConfig
from pipeline.exports.summary import ExportSummary

_SHOWN = 5


def export(
    out: str,
    /,
    *,
    to: str,
    dest: str,
    settings: Annotated[ExportConfig, Parameter(name="*")] | None = None,
    overwrite: Flag = False,
    quiet: Flag = False,
    json: Flag = False,
) -> int:
    """Write what the maps in OUT mark as boxes, masks or arrays that training programs read.

    Example: sess export maps --to coco --dest labels

    Args:
        out: Folder of a run; of one that is not finished, what is committed is exported.
        to: coco, voc, yolo, proposals (boxes), masks, irn, psa, wsol (arrays), huggingface or
            fiftyone.
        dest: Folder for the files, or the name of the dataset for fiftyone.
        settings: Settings of the export.
        overwrite: Replace an earlier export in DEST.
        quiet: Print nothing but faults.
        json: Print the summary as JSON.
    """
    with ImagesProgress("exporting", show=not (quiet or json)) as progress:
        summary = export_labels(
            out,
            to,
            dest,
            settings,
            overwrite=overwrite,
            on_begin=progress.begin,
            on_image=progress.done,
        )
    if json:
        print(json_.dumps(summary.to_dict()))
    elif not quiet:
        _show(summary)
    return 1 if summary.skipped else 0


def _show(summary: ExportSummary) -> None:
    table = Table(title=f"sess export --to {summary.to}", title_justify="left", show_header=False)
    empty = f", {summary.empty:,} without a box" if summary.empty else ""
    table.add_row("images", f"{summary.images:,}{empty}")
    table.add_row("classes", f"{summary.classes:,}")
    for name, number in (("boxes", summary.boxes), ("masks", summary.masks)):
        if number:
            table.add_row(name, f"{number:,}")
    if summary.skipped:
        table.add_row("skipped", f"{summary.skipped:,} images")
    for note in summary.notes:
        table.add_row("note", note)
    table.add_row("time", f"{summary.seconds:.1f} s")
    table.add_row("labels", summary.dest)
    Console().print(table)
    print(f"read them: {summary.read}")
    for reason in summary.reasons[:_SHOWN]:
        print(f"skipped: {reason}", file=sys.stderr)
    if summary.skipped > _SHOWN:
        print(f"skipped: ... {summary.skipped - _SHOWN} more", file=sys.stderr)

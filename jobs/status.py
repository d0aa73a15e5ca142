"""``sess status``: what has become of a run."""

from __future__ import annotations

import json as json_

from rich.console import Console
from rich.table import Table

from jobs.run import Flag
from pipeline.status import Status
from pipeline.status import status as status_of


def status(out: str, /, *, json: Flag = False) -> int:
    """Show what is done, failed and left of the run in OUT, whether or not it runs now.

    Example: sess status maps

    Args:
        out: Folder of a run.
        json: Print JSON.
    """
    found = status_of(out)
    if json:
        print(json_.dumps(found.to_dict()))
    else:
        _show(found, out)
    return 0


def _show(found: Status, out: str) -> None:
    table = Table(title=f"sess status {out}", title_justify="left", show_header=False)
    table.add_row("state", f"{found.state} ({found.driver})" if found.driver else found.state)
    table.add_row("done", f"{found.done:,} of {found.images:,} images")
    table.add_row("failed", f"{found.failed:,}")
    table.add_row("left", f"{found.left:,}")
    if found.images_per_s:
        table.add_row("speed", f"{found.images_per_s:.2f} images/s")
        if found.driver and found.left:
            table.add_row("ends in", f"{found.left / found.images_per_s / 3600:.2f} h")
    Console().print(table)
    for failure in found.failures:
        print(f"failed: {failure}")
    if found.state == "interrupted":
        print("give the same `sess run` again to go on")
    elif found.failed and found.state == "complete":
        print(f"`sess retry {out}` does the failed rows again")

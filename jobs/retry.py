"""``sess retry``: the failed rows of a run again."""

from __future__ import annotations

from jobs.progress import RunProgress
from jobs.run import Flag, report
from pipeline import retry as retry_pipeline


def retry(out: str, /, *, quiet: Flag = False, json: Flag = False) -> int:
    """Do the failed rows of the run in OUT again, and no others.

    Example: sess retry maps

    Args:
        out: Folder of a run.
        quiet: Print nothing but faults.
        json: Print the summary as JSON.
    """
    with RunProgress(show=not (quiet or json)) as progress:
        summary = retry_pipeline(
            out, on_plan=progress.planned, on_placed=progress.placed, on_batch=progress.done
        )
    return report(summary, out, quiet=quiet, json=json)

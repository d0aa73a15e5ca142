"""What has become of a run, from its OUT alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from pipeline.commit import read_committed
from pipeline.files import Folder
from pipeline.lease import holder, is_alive
from pipeline.record import PLANNING, read_record
from pipeline.records import FAILED
from pipeline.scheduler import Plan
from sess_kernels.errors import SessError

_SHOWN = 5


@dataclass(frozen=True)
class Status:
    """State and counts of a run; rows count when they are committed.

    Attributes:
        state: ``planning``, ``planned``, ``running``, ``interrupted`` or ``complete``.
        images: Rows of the plan.
        done: Rows that are committed.
        failed: Those of them with an error.
        left: Rows that are not committed.
        patches: Patches of the committed rows.
        images_per_s: Speed of the driver that runs, or of the run that is complete.
        driver: Host and process of the driver that runs, if one does.
        failures: The first rows that failed, as ``image id: reason``.
    """

    state: str
    images: int
    done: int
    failed: int
    left: int
    patches: int
    images_per_s: float
    driver: str | None
    failures: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The status ready for JSON."""
        return asdict(self)


def status(out: str | Path, patience: float | None = None) -> Status:
    """The status of a run.

    Args:
        out: Folder of the run.
        patience: Seconds to watch a driver on another host before it is taken for dead.

    Raises:
        SessError: If there is no run in ``out``.

    Example:
        >>> status("nowhere")
        Traceback (most recent call last):
        ...
        sess_kernels.errors.SessError: nowhere holds no run; is it the --out of a `sess run`?
    """
    folder = Folder.of(out)
    record = read_record(folder)
    if record is None:
        raise SessError(f"{out} holds no run; is it the --out of a `sess run`?")
    lease = holder(folder)
    lives = lease is not None and is_alive(folder, lease, patience)
    told = lease["progress"] if lease and lives else record.get("summary", {})
    counts, failures = _count(folder)
    state = record["state"]
    images = 0 if state == PLANNING else Plan.of(record["dataset"]).n_images
    if state in ("planning", "running") and not lives:
        state = "interrupted"
    return Status(
        state=state,
        images=images,
        done=counts["done"],
        failed=counts["failed"],
        left=images - counts["done"],
        patches=counts["patches"],
        images_per_s=told.get("images_per_s", 0.0),
        driver=f"{lease['host']}, process {lease['pid']}" if lease and lives else None,
        failures=failures,
    )


def _count(out: Folder) -> tuple[dict[str, int], tuple[str, ...]]:
    counts = {"done": 0, "failed": 0, "patches": 0}
    failures: list[str] = []
    for table in read_committed(out, ["image_id", "status", "error", "n_patches"]):
        failed = table.filter(pc.equal(table["status"], FAILED))
        counts["done"] += table.num_rows
        counts["failed"] += failed.num_rows
        counts["patches"] += pc.sum(table["n_patches"]).as_py() or 0
        for row in failed.slice(0, _SHOWN - len(failures)).to_pylist():
            failures.append(f"{row['image_id']}: {row['error']}")
    return counts, tuple(failures)

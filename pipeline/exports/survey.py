"""What a run holds, from the small columns of its rows: no map is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.commit import committed
from pipeline.files import Folder
from pipeline.layout import MAPS_FOLDER
from pipeline.record import PLANNING, read_record
from pipeline.records import OK
from pipeline.stores import open_file
from pipeline.streams import ahead
from sess_kernels.errors import SessError

_COLUMNS = ["image_id", "status", "error"] + [
    f"targets.list.element.{name}" for name in ("class_index", "class_name")
]
_READERS = 8


@dataclass
class Survey:
    """What a run holds when an export begins; rows that come later are not exported.

    Attributes:
        record: ``run.json``.
        images: Place of each image that has maps, from 0.
        found: Name of every class index that occurs.
        failed: Images that have none, with the reason.
        planned: Rows of the plan.
    """

    record: dict[str, Any]
    images: dict[str, int] = field(default_factory=dict)
    found: dict[int, str] = field(default_factory=dict)
    failed: list[tuple[str, str]] = field(default_factory=list)
    planned: int = 0

    @property
    def committed(self) -> int:
        """Rows that are there."""
        return len(self.images) + len(self.failed)


def survey(out: Folder, limit: int | None = None) -> Survey:
    """Look through the committed rows of a run.

    Args:
        out: Folder of the run.
        limit: Take only the first images that have maps.

    Raises:
        SessError: If there is no run, or it has no map yet.
    """
    record = read_record(out)
    if record is None:
        raise SessError(f"{out.uri} holds no run; is it the --out of a `sess run`?")
    planned = 0 if record["state"] == PLANNING else record["dataset"]["n_images"]
    found = Survey(record, planned=planned)
    for table in ahead(partial(_columns, out / MAPS_FOLDER), committed(out), _READERS):
        for row in table.to_pylist():
            if not row["targets"]:
                reason = "it has no class" if row["status"] == OK else str(row["error"])
                found.failed.append((row["image_id"], reason))
            elif limit is None or len(found.images) < limit:
                found.images[row["image_id"]] = len(found.images)
                found.found |= {one["class_index"]: one["class_name"] for one in row["targets"]}
    if not found.images:
        reason = "; `sess status` tells more" if found.planned else ""
        if found.failed:
            reason = f": {len(found.failed)} images failed, the first as {found.failed[0][1]}"
        raise SessError(f"{out.uri} has no maps that are committed{reason}")
    return found


def _columns(folder: Folder, name: str) -> pa.Table:
    with open_file(f"{folder.uri}/{name}") as file:
        return pq.ParquetFile(file).read(_COLUMNS)  # read_table does not look into lists

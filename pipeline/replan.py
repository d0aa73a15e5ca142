"""Rows that could not be planned, planned again: their files may have been mended since."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.files import Folder
from pipeline.plan_rows import PlanConfig, within_limits
from pipeline.records import PLAN_SCHEMA
from pipeline.scheduler import Plan, read_plan, write_part
from pipeline.sizes import with_sizes
from sess_kernels.windows import counts


def plan_failed_again(folder: Folder, plan: Plan, config: PlanConfig) -> Plan:
    """Read the headers of the rows with an error once more; shards stay as they are.

    Args:
        folder: Where the plan is.
        plan: The plan.
        config: What it depends on.

    Returns:
        The plan with its counts as they are now.
    """
    if not plan.n_failed:
        return plan
    n_patches = n_failed = n_missing = 0
    for name, rows in zip(plan.files, read_plan(folder, plan.files), strict=True):
        failed = np.flatnonzero(pc.is_valid(rows["error"]))
        if len(failed):
            rows, missing = _again(rows, failed, config)
            write_part(folder, name, rows)
            n_missing += missing
        n_patches += pc.sum(rows["n_patches"]).as_py()
        n_failed += rows.num_rows - rows["error"].null_count
    return replace(plan, n_patches=n_patches, n_failed=n_failed, n_missing=n_missing)


def _again(rows: pa.Table, failed: np.ndarray, config: PlanConfig) -> tuple[pa.Table, int]:
    """The rows with those that failed planned anew, and how many of these have no file."""
    asked = rows.take(failed).drop_columns(["error"])
    for side in ("height", "width"):
        at = asked.schema.get_field_index(side)
        asked = asked.set_column(at, side, pa.nulls(len(failed), pa.int32()))
    [sized] = with_sizes([asked], config.max_pixels)
    heights, widths, errors = within_limits(sized, config)
    known = heights > 0
    patches = np.zeros(len(failed), np.int64)
    patches[known] = counts(heights[known], widths[known], config.sess, config.input_size)
    found = {"height": heights, "width": widths, "n_patches": patches}
    columns = {name: rows[name] for name in rows.column_names}
    for name, values in found.items():
        whole = np.array(np.asarray(rows[name]))
        whole[failed] = values
        columns[name] = whole
    said = rows["error"].to_pylist()
    for row, error in zip(failed, errors.to_pylist(), strict=True):
        said[row] = error
    return pa.table(columns | {"error": said}).cast(PLAN_SCHEMA), pc.sum(sized["missing"]).as_py()

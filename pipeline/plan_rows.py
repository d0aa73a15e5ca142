"""Rows of a plan: classes, sizes, patch counts and shards of the images of one table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.ids import check_ids
from pipeline.images import MAX_PIXELS, too_large
from pipeline.labels import LabelResolver
from pipeline.records import PLAN_SCHEMA
from pipeline.shards import MAX_SHARD_PATCHES, cut, shard_bytes, small_shard_patches
from sess_kernels.config import SESSConfig
from sess_kernels.windows import counts

MAX_SCALED_PIXELS = 2**28
"""Pixels of an image at its largest scale, at most; a strip of one pixel's height has more."""


@dataclass(frozen=True)
class PlanConfig:
    """What a plan depends on, beside the source.

    Attributes:
        sess: Settings of SESS.
        input_size: Input size of the backbone in pixels.
        batch_size: Patches of a device batch; shards end where the last one is full.
        resolve: Turns labels into class indices; ``None`` if the classes are predicted.
        top_k: Classes of an image with predicted labels.
        max_pixels: Pixels of an image, at most.
        by_stem: Whether files are called as images without their extension, see ``layouts.stems``.
    """

    sess: SESSConfig
    input_size: int
    batch_size: int
    resolve: LabelResolver | None = None
    top_k: int = 1
    max_pixels: int = MAX_PIXELS
    by_stem: bool = False


def plan_rows(
    sized: pa.Table, first_row: int, config: PlanConfig, *, is_all: bool = False
) -> pa.Table:
    """Plan the rows of a table; its shards are numbered from 0.

    Args:
        sized: Rows of ``records.SOURCE_SCHEMA`` with all sizes and ``error``, see
            ``sizes.with_sizes``.
        first_row: Number of the first row in the plan.
        config: What else the plan depends on.
        is_all: Whether the dataset has no other rows; its shards are smaller then.

    Returns:
        Rows of ``records.PLAN_SCHEMA``.

    Raises:
        SessError: If an id is empty or holds NUL, or labels cannot be resolved.
    """
    ids = sized["image_id"].combine_chunks()
    check_ids(ids, first_row)
    labels = pa.nulls(len(ids), PLAN_SCHEMA.field("labels").type)
    n_classes: NDArray[np.int64] | int = config.top_k
    if config.resolve is not None:
        labels = config.resolve(ids, sized["labels"].combine_chunks())
        n_classes = np.asarray(pc.list_value_length(labels), np.int64)
    heights, widths, errors = within_limits(sized, config)
    known = heights > 0
    patches = np.zeros(len(ids), np.int64)
    patches[known] = counts(heights[known], widths[known], config.sess, config.input_size)
    most = small_shard_patches(patches) if is_all else MAX_SHARD_PATCHES
    ends = cut(patches, shard_bytes(heights * widths, n_classes), config.batch_size, most)
    columns = {
        "row": np.arange(first_row, first_row + len(ids)),
        "shard": np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0)),
        "image_id": ids,
        "uri": sized["uri"],
        "labels": labels,
        "height": heights,
        "width": widths,
        "n_patches": patches,
        "error": errors,
    }
    return pa.table(columns).cast(PLAN_SCHEMA)


def within_limits(
    rows: pa.Table, config: PlanConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64], pa.StringArray]:
    """Heights, widths and errors of rows; images over a limit have the size 0 and an error."""
    heights, widths = (np.array(rows[name], np.int64) for name in ("height", "width"))
    pixels = heights * widths
    scaled = _largest_scale(config) ** 2 * np.maximum(heights, widths)
    scaled = scaled // np.maximum(np.minimum(heights, widths), 1)
    over = np.flatnonzero((pixels > config.max_pixels) | (scaled > MAX_SCALED_PIXELS))
    if not len(over):
        return heights, widths, rows["error"].combine_chunks()
    errors = rows["error"].to_pylist()
    for row in over:
        uri = rows["uri"][int(row)].as_py()
        errors[row] = (
            too_large(uri, pixels[row], config.max_pixels)
            if pixels[row] > config.max_pixels
            else f"{uri} of {heights[row]}x{widths[row]} pixels has {scaled[row]} at the largest "
            f"scale, more than the limit of {MAX_SCALED_PIXELS}; crop it or leave it out"
        )
    heights[over] = widths[over] = 0
    return heights, widths, pa.array(errors, pa.string())


def _largest_scale(config: PlanConfig) -> int:
    """Shorter side of an image at the last scale, in pixels."""
    full = config.sess.for_input(config.input_size)
    assert full.base_size is not None
    return full.base_size + full.scale_increment * max(0, full.scales - 1)

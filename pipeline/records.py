"""Rows of the pipeline: what a source gives, what a plan holds, what a run writes."""

from __future__ import annotations

import pyarrow as pa

OK = "ok"
FAILED = "failed"

TABLE_ROWS = 65_536
"""Rows that sources and plans hand on at a time, at most."""

SOURCE_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("labels", pa.list_(pa.string())),  # "7" is an index, "tabby" a name
        ("height", pa.int32()),
        ("width", pa.int32()),
    ]
)
"""An image of a source: its unique id, and the absolute path or URI of its file.

``labels`` is null where the source carries none; ``height`` and ``width`` (pixels after EXIF
rotation) are null where it does not tell them.
"""

PLAN_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("shard", pa.int32()),
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("labels", pa.list_(pa.int32())),  # null: the classes are predicted
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("n_patches", pa.int32()),
        ("error", pa.string()),
    ]
)
"""A planned image: size after EXIF rotation and patch count, or why it cannot be explained.

``row`` numbers the images of the run from 0 in the order of the source, ``shard`` their shards.
"""

DECODED_SCHEMA = PLAN_SCHEMA.append(pa.field("pixels", pa.large_binary()))
"""A decoded image: RGB bytes, row by row; null where ``error`` is set."""

SCORED_SCHEMA = DECODED_SCHEMA.append(pa.field("classes", pa.list_(pa.int32()))).append(
    pa.field("scores", pa.list_(pa.float32()))  # class by class, a value for each patch
)
"""A decoded image and what the pre-filter needs of its patches; nulls where ``error`` is set."""

PATCH_TYPE = pa.struct(
    [
        ("scale", pa.int32()),
        ("scaled_size", pa.list_(pa.int32())),
        ("window", pa.list_(pa.int32())),
        ("box", pa.list_(pa.float32())),
        ("score", pa.float32()),
        ("map", pa.binary()),
        ("map_dtype", pa.string()),
        ("map_shape", pa.list_(pa.int32())),
    ]
)
"""One kept patch of a map, see ``sess_kernels.PatchSaliency``; its map is stored as a map is."""

TARGET_TYPE = pa.struct(
    [
        ("class_index", pa.int32()),
        ("class_name", pa.string()),
        ("score", pa.float32()),
        ("n_kept", pa.int32()),
        ("map", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("map_dtype", pa.string()),
        ("map_shape", pa.list_(pa.int32())),
        ("patches", pa.list_(PATCH_TYPE)),  # null: not asked for
    ]
)
"""One class of an image and its map, see ``RESULT_SCHEMA``."""

RESULT_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("n_patches", pa.int32()),
        ("targets", pa.list_(TARGET_TYPE)),
    ]
)
"""One image of ``OUT/maps/*.parquet``; ``row`` is its number in the plan.

``map.bytes`` is a single-channel PNG where ``map_dtype`` is uint8 or uint16, else raw little-endian
floats of shape ``map_shape``; ``map.path`` names the NPY file below OUT if there is one.
"""

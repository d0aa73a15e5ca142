"""Rows of the pipeline: what a source gives, what a plan holds, what a run writes."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

OK = "ok"
FAILED = "failed"

Label = int | str


@dataclass(frozen=True)
class SourceRow:
    """One image of a source.

    Attributes:
        image_id: Unique name of the image in its dataset.
        uri: Absolute path or URI of the file.
        labels: Class indices or names; ``None`` if the source carries none.
    """

    image_id: str
    uri: str
    labels: tuple[Label, ...] | None = None


PLAN_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("labels", pa.list_(pa.int32())),  # null: the classes are predicted
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("n_patches", pa.int32()),
        ("error", pa.string()),
    ]
)
"""A planned image: size after EXIF rotation and patch count, or why its header cannot be read."""

DECODED_SCHEMA = PLAN_SCHEMA.append(pa.field("pixels", pa.large_binary()))
"""A decoded image: RGB bytes, row by row; null where ``error`` is set."""

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
"""One image of ``OUT/maps/*.parquet``.

``map.bytes`` is a single-channel PNG where ``map_dtype`` is uint8 or uint16, else raw little-endian
floats of shape ``map_shape``; ``map.path`` names the NPY file below OUT if there is one.
"""

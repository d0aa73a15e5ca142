"""Which columns of a Hugging Face Parquet file hold images, labels and ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from pipeline.sources.columns import holds_bytes
from sess_kernels.errors import SessError, unknown

_IMAGES = ("image", "img")
_LABELS = ("label", "labels")
_OBJECTS = "objects.category"


@dataclass(frozen=True)
class Columns:
    """Columns of a dataset.

    Attributes:
        image: The images.
        label: Their labels; ``a.b`` is the field ``b`` of the column ``a``.
        image_id: Their ids.
    """

    image: str
    label: str | None = None
    image_id: str | None = None


def choose_columns(schema: pa.Schema, options: Mapping[str, str]) -> Columns:
    """The columns that are said, or else found by the features that ``datasets`` stores.

    Args:
        schema: Schema of a file.
        options: ``image``, ``label`` and ``id``, each with a name, or none of them.

    Raises:
        SessError: If a column does not exist, is of the wrong type or one of several that may be
            meant.

    Example:
        >>> images = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        >>> choose_columns(pa.schema({"photo": images, "label": pa.int64()}), {})
        Columns(image='photo', label='label', image_id=None)
    """
    features = features_of(schema)
    label = options.get("label") or _label(schema, features)
    if label is not None:
        _check_label(schema, label)
    image_id = options.get("id")
    if image_id is not None and image_id not in schema.names:
        raise SessError(f"no {unknown('column', image_id, schema.names)}")
    return Columns(options.get("image") or _image(schema, features), label, image_id)


def check_image(schema: pa.Schema, column: str) -> None:
    """Refuse a column that holds no images.

    Raises:
        SessError: With the columns that there are.
    """
    if column not in schema.names:
        raise SessError(f"there is no column {column!r} but: {', '.join(schema.names)}")
    kind = schema.field(column).type
    if not holds_bytes(kind):
        raise SessError(f"column {column!r} must hold images (bytes) but holds {kind}")


def features_of(schema: pa.Schema) -> dict[str, Any]:
    """What ``datasets`` says of each column; nothing if another program wrote the file."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def class_names(schema: pa.Schema, label: str) -> list[str] | None:
    """Names of the classes of a column of labels, by index, if they are stored with it."""
    features: Any = features_of(schema)
    for part in [label] if label in features else label.split("."):
        features = _element(features.get(part)) if isinstance(features, dict) else None
    if not isinstance(features, dict) or features.get("_type") != "ClassLabel":
        return None
    names = features.get("names")
    return [str(name) for name in names] if isinstance(names, list) else None


def field_type(schema: pa.Schema, name: str) -> pa.DataType | None:
    """Type of the values of a column or of a field in it, lists taken apart; if there is one."""
    if name in schema.names:
        return _inner(schema.field(name).type)
    outer, _, field = name.partition(".")
    kind = _inner(schema.field(outer).type) if outer in schema.names else None
    if kind is None or not pt.is_struct(kind) or kind.get_field_index(field) < 0:
        return None
    return _inner(kind.field(field).type)


def _image(schema: pa.Schema, features: dict[str, Any]) -> str:
    """The column of images: by the features, by the type, by the name."""
    told = [
        name
        for name, feature in features.items()
        if name in schema.names and isinstance(feature, dict) and feature.get("_type") == "Image"
    ]
    images = [name for name in schema.names if holds_bytes(schema.field(name).type)]
    structs = [name for name in images if pt.is_struct(schema.field(name).type)]
    named = [name for name in images if name in _IMAGES]
    found = told or structs or named
    if len(found) > 1:
        found = [name for name in _IMAGES if name in found][:1] or found
    if not found:
        names = ", ".join(schema.names)
        raise SessError(f"no column holds images but: {names}; choose one with ?image=NAME")
    if len(found) > 1:
        raise SessError(f"several columns hold images: {', '.join(found)}; choose with ?image=NAME")
    return found[0]


def _label(schema: pa.Schema, features: dict[str, Any]) -> str | None:
    """The column of labels, if there is one: by the name, by the features, that of the objects."""
    for name in _LABELS:
        if name in schema.names:
            return name
    found = [name for name in features if name in schema.names and class_names(schema, name)]
    if len(found) > 1:
        raise SessError(
            f"several columns hold classes: {', '.join(found)}; choose with ?label=NAME"
        )
    if found:
        return found[0]
    return _OBJECTS if field_type(schema, _OBJECTS) is not None else None


def _check_label(schema: pa.Schema, label: str) -> None:
    kind = field_type(schema, label)
    if kind is None:
        raise SessError(f"no {unknown('column of labels', label, schema.names)}")
    if not (pt.is_integer(kind) or pt.is_string(kind) or pt.is_large_string(kind)):
        raise SessError(
            f"column {label!r} must hold class names or indices but holds {kind}; "
            "choose with ?label=NAME"
        )


def _element(feature: Any) -> Any:
    """A feature without the lists around it, as any version of ``datasets`` writes them."""
    while True:
        if isinstance(feature, list) and len(feature) == 1:
            feature = feature[0]
        elif isinstance(feature, dict) and isinstance(feature.get("feature"), dict | list):
            feature = feature["feature"]
        else:
            return feature


def _inner(kind: pa.DataType) -> pa.DataType:
    while pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        kind = kind.value_type
    return kind.value_type if pt.is_dictionary(kind) else kind

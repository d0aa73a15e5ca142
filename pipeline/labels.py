"""Labels of rows as class indices of the backbone."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.groups import N_OUTPUTS
from pipeline.records import SOURCE_SCHEMA
from pipeline.sources.listed import Listed
from pipeline.strings import offsets_of
from sess_kernels.errors import SessError, unknown

_LABELS = SOURCE_SCHEMA.get_field_index("labels")
_UNKNOWN = -1


def attach(
    tables: Iterable[pa.Table],
    labels: Mapping[str, tuple[str, ...]],
    table: str,
    listed: Listed,
) -> Iterator[pa.Table]:
    """Give the rows of a source the labels of a table; rows that it does not list are left out.

    An image is found by its id, or by its file name where that is what the table lists.

    Args:
        tables: Rows of ``records.SOURCE_SCHEMA``.
        labels: Labels by image, see ``sources.read_labels``.
        table: Name of the table of labels, for messages.
        listed: Is told how many rows were left out.

    Raises:
        SessError: If one name stands for two images; after the last row, if the table lists images
            that do not exist.

    Example:
        >>> rows = [{"image_id": "a/1.jpg", "uri": "/a/1.jpg"}, {"image_id": "2", "uri": "/2"}]
        >>> rows = pa.Table.from_pylist(rows, SOURCE_SCHEMA)
        >>> [found] = attach([rows], {"1.jpg": ("3",)}, "labels.csv", Listed())
        >>> found["labels"].to_pylist()
        [['3']]
    """
    labels = {posixpath.normpath(name): found for name, found in labels.items()}
    used: dict[str, str] = {}
    for rows in tables:
        keys = [_key(image_id, labels) for image_id in rows["image_id"].to_pylist()]
        kept = [number for number, key in enumerate(keys) if key is not None]
        listed.unlabelled += len(keys) - len(kept)
        taken = rows.take(pa.array(kept, pa.int64()))
        found = [key for key in keys if key is not None]
        for key, image_id in zip(found, taken["image_id"].to_pylist(), strict=True):
            if key in used:
                raise SessError(
                    f"{table}: {key} stands for {used[key]} and {image_id}; give their paths"
                )
            used[key] = image_id
        column = pa.array([labels[key] for key in found], SOURCE_SCHEMA.field(_LABELS).type)
        yield taken.set_column(_LABELS, SOURCE_SCHEMA.field(_LABELS), column)
    missing = [name for name in labels if name not in used]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise SessError(
            f"{table} has labels for {len(missing)} of {len(labels)} images that the source does "
            f"not have: {shown}; correct the names or remove these rows"
        )


def _key(image_id: str, labels: Mapping[str, tuple[str, ...]]) -> str | None:
    if image_id in labels:
        return image_id
    name = posixpath.basename(image_id)
    return name if name in labels else None


def labelled(
    tables: Iterable[pa.Table], without: frozenset[str], listed: Listed
) -> Iterator[pa.Table]:
    """The rows that have a label, and of their labels those that outputs stand for.

    Args:
        tables: Rows of ``records.SOURCE_SCHEMA``.
        without: Class names, in lower case, that no output stands for.
        listed: Is told what was left out.

    Raises:
        SessError: After the last row, if none had a label.

    Example:
        >>> rows = [{"image_id": "1", "uri": "/1", "labels": ["cat", "sink"]}]
        >>> rows += [{"image_id": "2", "uri": "/2", "labels": []}]
        >>> rows, listed = pa.Table.from_pylist(rows, SOURCE_SCHEMA), Listed()
        >>> [found] = labelled([rows], frozenset(["sink"]), listed)
        >>> found["labels"].to_pylist(), listed.unlabelled, dict(listed.without_outputs)
        ([['cat']], 1, {'sink': 1})
    """
    n_kept = 0
    for rows in tables:
        labels = rows["labels"].combine_chunks()
        said = np.asarray(pc.fill_null(pc.list_value_length(labels), 0)) > 0
        if without:
            labels = _with_outputs(labels, without, listed.without_outputs)
            rows = rows.set_column(_LABELS, SOURCE_SCHEMA.field(_LABELS), labels)
        lengths = np.asarray(pc.fill_null(pc.list_value_length(labels), 0))
        listed.unlabelled += int((~said).sum())
        kept = rows if lengths.all() else rows.filter(pa.array(lengths > 0))
        n_kept += kept.num_rows
        if kept.num_rows:
            yield kept
    if not n_kept:
        raise SessError(
            "no image has a label that an output of the backbone stands for; "
            "see --class-groups, or run with --labels predicted"
        )


def _with_outputs(
    labels: pa.ListArray, without: frozenset[str], left: Counter[str]
) -> pa.ListArray:
    """The labels without those of some names, which are counted."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(labels), 0), np.int64)
    texts = labels.flatten()
    lost = pc.is_in(pc.utf8_lower(texts), pa.array(sorted(without)))
    left.update(texts.filter(lost).to_pylist())
    kept = np.asarray(pc.invert(lost))
    rows = np.repeat(np.arange(len(lengths)), lengths)[kept]
    lengths = np.bincount(rows, minlength=len(lengths))
    return pa.ListArray.from_arrays(offsets_of(lengths), texts.filter(pa.array(kept)))


class LabelResolver:
    """Turns class names and indices into class indices.

    Args:
        class_names: Name of every class of the backbone.
        backbone: Name of the backbone, for messages.

    Example:
        >>> ids, labels = pa.array(["a.jpg", "b.jpg"]), pa.array([["Dog", "0", "1"], ["cat"]])
        >>> LabelResolver(["cat", "dog"], "toy")(ids, labels).to_pylist()
        [[1, 0], [0]]
    """

    def __init__(self, class_names: Sequence[str], backbone: str) -> None:
        self._names = list(class_names)
        self._backbone = backbone
        self._index: dict[str, list[int]] = {}
        for index, name in enumerate(class_names):
            self._index.setdefault(name.lower(), []).append(index)
        self._found: dict[str, int] = {}  # each distinct label is looked up once

    def __call__(self, image_ids: pa.StringArray, labels: pa.ListArray) -> pa.ListArray:
        """Class indices of the labels of every image, each once and in their order.

        Args:
            image_ids: Ids of the images, for messages.
            labels: list<string>, one for each image.

        Returns:
            list<int32>, one for each image.

        Raises:
            SessError: If an image has no label, or one that is out of range, unknown or ambiguous.
                The first such image is named.
        """
        lengths = np.asarray(pc.fill_null(pc.list_value_length(labels), 0), np.int64)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        told = labels.flatten().dictionary_encode()
        known = np.array([self._class(label) for label in told.dictionary.to_pylist()], np.int32)
        classes = known[np.asarray(told.indices)]
        bad = lengths == 0
        bad[rows[classes == _UNKNOWN]] = True
        if bad.any():
            first = int(bad.argmax())
            raise self._fault(image_ids[first].as_py(), labels[first].as_py() or [])
        once = _first_of_each(rows, classes)
        n_classes = np.bincount(rows[once], minlength=len(lengths))
        return pa.ListArray.from_arrays(offsets_of(n_classes), pa.array(classes[once]))

    def _class(self, label: str) -> int:
        if label not in self._found:
            index = _index_of(label)
            if index is None:
                found = self._index.get(label.lower(), [])
                index = found[0] if len(found) == 1 else _UNKNOWN
            self._found[label] = index if 0 <= index < len(self._names) else _UNKNOWN
        return self._found[label]

    def _fault(self, image_id: str, labels: list[str]) -> SessError:
        if not labels:
            return SessError(
                f"image {image_id} has no label; give it one, leave it out, "
                "or run with --labels predicted"
            )
        label = next(label for label in labels if self._class(label) == _UNKNOWN)
        index = _index_of(label)
        if index is not None:
            return SessError(
                f"image {image_id} has class index {index} but backbone {self._backbone} has "
                f"classes 0 to {len(self._names) - 1}; correct the label or the backbone"
            )
        found = self._index.get(label.lower(), [])
        if found:
            return SessError(
                f"image {image_id}: class name {label!r} stands for the indices {found}; "
                "give the index"
            )
        hint = "" if len(self._names) != N_OUTPUTS else "; for VOC or COCO see --class-groups"
        return SessError(f"image {image_id}: {unknown('class', label, self._names)}{hint}")


def _index_of(label: str) -> int | None:
    return int(label) if re.fullmatch(r"-?[0-9]+", label) else None


def _first_of_each(rows: NDArray[np.int64], classes: NDArray[np.int32]) -> NDArray[np.int64]:
    """Places of the labels to keep: of equal classes of one row the first; in their order."""
    if (np.diff(rows) > 0).all():  # one label each
        return np.arange(len(rows))
    order = np.lexsort((classes, rows))  # stable: of equal ones the first stays first
    again = (np.diff(rows[order]) == 0) & (np.diff(classes[order]) == 0)
    return np.sort(order[np.concatenate([[True], ~again])])

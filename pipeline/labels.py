"""Labels of rows as class indices of the backbone."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from pipeline.records import Label, SourceRow
from sess_kernels.errors import SessError, unknown

_logger = logging.getLogger(__name__)


def attach(
    rows: Iterable[SourceRow], labels: Mapping[str, tuple[Label, ...]], table: str
) -> Iterator[SourceRow]:
    """Give the rows the labels of a table; rows that it does not list are left out.

    An image is found by its id, or by its file name where that is what the table lists.

    Raises:
        SessError: After the last row, if the table lists images that do not exist.

    Example:
        >>> rows = [SourceRow("a/1.jpg", "/data/a/1.jpg"), SourceRow("a/2.jpg", "/data/a/2.jpg")]
        >>> [row.labels for row in attach(rows, {"1.jpg": (3,)}, "labels.csv")]
        [(3,)]
    """
    labels = {posixpath.normpath(name): found for name, found in labels.items()}
    used: dict[str, str] = {}
    unlabelled = 0
    for row in rows:
        names = (row.image_id, posixpath.basename(row.image_id))
        key = next((name for name in names if name in labels), None)
        if key is None:
            unlabelled += 1
        else:
            if key in used:
                raise SessError(
                    f"{table}: {key} stands for {used[key]} and {row.image_id}; give their paths"
                )
            used[key] = row.image_id
            yield replace(row, labels=labels[key])
    if unlabelled:
        _logger.warning("%d images have no label in %s and are left out", unlabelled, table)
    missing = [name for name in labels if name not in used]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise SessError(
            f"{table} has labels for {len(missing)} of {len(labels)} images that the source does "
            f"not have: {shown}; correct the names or remove these rows"
        )


class LabelResolver:
    """Turns class names and indices into class indices.

    Args:
        class_names: Name of every class of the backbone.
        backbone: Name of the backbone, for messages.

    Example:
        >>> LabelResolver(["cat", "dog"], "toy")("a.jpg", ("Dog", 0))
        [1, 0]
    """

    def __init__(self, class_names: Sequence[str], backbone: str) -> None:
        self._names = list(class_names)
        self._backbone = backbone
        self._index: dict[str, list[int]] = {}
        for index, name in enumerate(class_names):
            self._index.setdefault(name.lower(), []).append(index)

    def __call__(self, image_id: str, labels: tuple[Label, ...]) -> list[int]:
        """Class indices of the labels of an image, each once.

        Raises:
            SessError: If there is no label, or one is out of range, unknown or ambiguous.
        """
        if not labels:
            raise SessError(
                f"image {image_id} has no label; give it one, leave it out, "
                "or run with --labels predicted"
            )
        return list(dict.fromkeys(self._resolve(image_id, label) for label in labels))

    def _resolve(self, image_id: str, label: Label) -> int:
        if isinstance(label, int):
            if not 0 <= label < len(self._names):
                raise SessError(
                    f"image {image_id} has class index {label} but backbone {self._backbone} has "
                    f"classes 0 to {len(self._names) - 1}; correct the label or the backbone"
                )
            return label
        found = self._index.get(label.lower(), [])
        if len(found) > 1:
            raise SessError(
                f"image {image_id}: class name {label!r} stands for the indices {found}; "
                "give the index"
            )
        if not found:
            raise SessError(f"image {image_id}: {unknown('class', label, self._names)}")
        return found[0]

"""Class names of annotations as class indices of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pipeline.sources.imagenet import SYNSET
from pipeline.sources.imagenet_labels import synset_indices
from pipeline.truth.base import MOST_CLASSES
from sess_kernels.backbones import imagenet_classes
from sess_kernels.errors import SessError

_INDEX = re.compile(r"[0-9]+")
_SHOWN = 3


class ClassNumbers:
    """Class index of a label: an index, a name in any case, or a WordNet id of ImageNet-1k.

    Args:
        class_names: Name of every class of the run, by its index.

    Example:
        >>> number = ClassNumbers(["cat", "dog"])
        >>> number("Dog"), number("0"), number("sofa"), number("n02123045")
        (1, 0, None, None)
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.names = tuple(class_names)
        self._indices: dict[str, list[int]] = {}
        for index, name in enumerate(self.names):
            self._indices.setdefault(name.lower(), []).append(index)
        self._found: dict[str, int | None] = {}  # each distinct label is looked up once

    def __len__(self) -> int:
        return len(self.names)

    def __call__(self, label: str) -> int | None:
        """The class index; None if the run has no such class, or several of this name."""
        if label not in self._found:
            self._found[label] = self._index(label)
        return self._found[label]

    @property
    def fit_masks(self) -> bool:
        """Whether a mask of 8 bits can tell the classes apart."""
        return len(self.names) <= MOST_CLASSES

    def doubt(self, label: str) -> str:
        """Why a label stands for no class, where the run has several of its name; else empty.

        Example:
            >>> ClassNumbers(["crane", "dog", "crane"]).doubt("Crane")
            "class name 'Crane' stands for the indices [0, 2]; give the index"
        """
        same = self._indices.get(label.lower(), [])
        if len(same) < 2 or self(label) is not None:
            return ""
        return f"class name {label!r} stands for the indices {same}; give the index"

    def check_any(self, name: str, labels: Iterable[str]) -> None:
        """Refuse a truth none of whose classes the run has.

        Args:
            name: The truth, for messages.
            labels: All of its labels.

        Raises:
            SessError: If there are labels, and not one is a class of the run.

        Example:
            >>> ClassNumbers(["cat", "dog"]).check_any("coco:a.json", ["sofa"])
            Traceback (most recent call last):
            ...
            sess_kernels.errors.SessError: coco:a.json: none of its classes (sofa) is one of ...
        """
        theirs = list(dict.fromkeys(labels))
        if not theirs or any(self(one) is not None for one in theirs):
            return
        raise SessError(
            f"{name}: none of its classes ({_shown(theirs)}) is one of the run's "
            f"({_shown(self.names)}); run with --class-groups, or give a truth of these classes"
        )

    def _index(self, label: str) -> int | None:
        if _INDEX.fullmatch(label):
            return int(label) if int(label) < len(self.names) else None
        same = self._indices.get(label.lower(), [])
        if same:
            return same[0] if len(same) == 1 else None
        if SYNSET.fullmatch(label) and self.names == imagenet_classes():
            return synset_indices().get(label)
        return None


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")

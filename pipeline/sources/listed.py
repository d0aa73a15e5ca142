"""What becomes known of a dataset while it is listed, beside its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

_SHOWN = 20


@dataclass
class Listed:
    """Counts and classes of a source; complete when its last row has been read.

    Attributes:
        classes: Name of each class of the source and its id there, where it has such.
        duplicates: Images that were listed again and left out.
        unlabelled: Images without a label, which were left out.
        without_outputs: Labels that no output of the backbone stands for, with their number; they
            were left out.
        n_faults: Entries that make no sense and were left out.
        faults: The first of them, each with its place.

    Example:
        >>> listed = Listed()
        >>> listed.fault("train.json: annotation 7 has no image; it is left out")
        >>> listed.to_dict()["n_faults"]
        1
    """

    classes: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    unlabelled: int = 0
    without_outputs: Counter[str] = field(default_factory=Counter)
    n_faults: int = 0
    faults: list[str] = field(default_factory=list)

    def fault(self, said: str) -> None:
        """An entry that is left out: file, line or row, what is wrong."""
        self.n_faults += 1
        if len(self.faults) < _SHOWN:
            self.faults.append(said)

    def name_classes(self, names: Iterable[str]) -> None:
        """Classes whose ids are their places."""
        self.classes = {name: number for number, name in enumerate(names)}

    def to_dict(self) -> dict[str, Any]:
        """All of it ready for JSON."""
        return asdict(self) | {"without_outputs": dict(self.without_outputs)}

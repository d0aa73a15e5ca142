"""Classes of a dataset, numbered without gaps from 0: what trainers of all formats expect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Classes:
    """Classes of an export in their order.

    Attributes:
        names: Name of each class; no two are alike.
        numbers: Place in ``names`` of a class index of the run.

    Example:
        >>> classes = Classes.of({281: "tabby", 134: "crane", 517: "crane"}, {})
        >>> classes.names, classes.numbers[281]
        (('crane (134)', 'tabby', 'crane (517)'), 1)
    """

    names: tuple[str, ...]
    numbers: Mapping[int, int]

    @classmethod
    def of(cls, found: Mapping[int, str], record: dict[str, Any]) -> Classes:
        """The classes of a run.

        They are the class groups; else those of the source, so that parts of a dataset agree;
        else, as of a thousand outputs few concern it, those that occur.

        Args:
            found: Name of every class index that occurs.
            record: ``run.json``.
        """
        groups = record.get("resolved", {}).get("class_groups")
        if groups:
            return cls(tuple(groups), {index: index for index in range(len(groups))})
        ids = record.get("dataset", {}).get("listed", {}).get("classes") or {}
        listed = sorted(ids, key=lambda name: ids[name])
        place = {name.lower(): number for number, name in enumerate(listed)}
        names = {index: found[index].lower() for index in sorted(found)}
        if set(names.values()) <= place.keys() and len(set(names.values())) == len(names):
            return cls(tuple(listed), {index: place[name] for index, name in names.items()})
        return cls(_unlike(found), {index: number for number, index in enumerate(sorted(found))})


def _unlike(found: Mapping[int, str]) -> tuple[str, ...]:
    """Names in the order of their indices; where two are alike, with the index."""
    times = Counter(found.values())
    return tuple(
        found[index] if times[found[index]] == 1 else f"{found[index]} ({index})"
        for index in sorted(found)
    )

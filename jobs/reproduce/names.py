"""Names of figures where people read, and which way they are better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Figure(NamedTuple):
    """How to show a figure.

    Attributes:
        title: Its heading.
        up: Whether more is better.
        unit: ``%`` of a fraction, or ``s``.
    """

    title: str
    up: bool = True
    unit: str = "%"


FIGURES: dict[str, Figure] = {
    "insertion": Figure("Insertion"),
    "deletion": Figure("Deletion", up=False),
    "overall": Figure("Overall"),
    "pointing": Figure("Pointing game"),
    "pointing_difficult": Figure("Pointing game, difficult"),
    "max_box_acc_v2": Figure("MaxBoxAccV2"),
    "pxap": Figure("PxAP"),
    "gt_known": Figure("GT-known localisation"),
    "top1_localisation": Figure("Top-1 localisation"),
    "corloc": Figure("CorLoc"),
    "miou": Figure("mIoU"),
    "seconds": Figure("Seconds", up=False, unit="s"),
}
"""Figures that tables and plots show, in their order; others are in the JSON alone."""


def shown_figures(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of the figures that any row has, found or printed, in the order of ``FIGURES``.

    Example:
        >>> shown_figures([{"figures": {"overall": {}, "insertion": {}}}, {"error": "no package"}])
        ['insertion', 'overall']
    """
    found = {
        name
        for row in rows
        for name, one in {**row.get("printed", {}), **row.get("figures", {})}.items()
        if not (isinstance(one, dict) and one.get("value", 0) is None)
    }
    return [name for name in FIGURES if name in found]

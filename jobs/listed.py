"""What a source leaves out, told before a run."""

from __future__ import annotations

from pipeline.scheduler import Plan

_SHOWN = 5


def left_out(plan: Plan) -> list[str]:
    """A line for every kind of image, label or entry that will have no map.

    Example:
        >>> plan = Plan(1, 9, 81, 1, 2, "", n_missing=1, listed={"unlabelled": 3})
        >>> left_out(plan)
        ['1 image is missing: no such file', '1 image cannot be read or is too large', \
'3 images have no label and are left out']
    """
    listed = plan.listed
    said = [
        _count(plan.n_missing, "is missing: no such file", "are missing: no such file"),
        _count(plan.n_failed - plan.n_missing, *_UNREADABLE),
        _count(listed.get("duplicates", 0), "is listed again and left out", _AGAIN),
        _count(listed.get("unlabelled", 0), "has no label and is left out", _UNLABELLED),
    ]
    return (
        [line for line in said if line]
        + _labels(listed.get("without_outputs", {}))
        + _faults(listed.get("n_faults", 0), listed.get("faults", []))
    )


_UNREADABLE = ("cannot be read or is too large", "cannot be read or are too large")
_AGAIN = "are listed again and left out"
_UNLABELLED = "have no label and are left out"


def _count(number: int, one: str, many: str) -> str:
    if number <= 0:
        return ""
    return f"1 image {one}" if number == 1 else f"{number:,} images {many}"


def _labels(without: dict[str, int]) -> list[str]:
    if not without:
        return []
    most = sorted(without.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{name} ({number:,})" for name, number in most[:_SHOWN])
    more = f" and {len(most) - _SHOWN} more classes" if len(most) > _SHOWN else ""
    total = sum(without.values())
    return [f"{total:,} labels that no output of the backbone stands for: {shown}{more}"]


def _faults(number: int, faults: list[str]) -> list[str]:
    more = number - len(faults[:_SHOWN])
    return faults[:_SHOWN] + ([f"{more:,} more faults of the source"] if more > 0 else [])

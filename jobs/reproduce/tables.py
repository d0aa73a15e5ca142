"""Results as markdown: what the paper printed, what was found, the difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jobs.reproduce.cases import Row
from jobs.reproduce.names import FIGURES, shown_figures
from jobs.reproduce.results import Result

_NONE = "-"
_COLUMNS: dict[str, Callable[[Row], str]] = {
    "data": lambda row: f"`{row['data']}`",
    "method": lambda row: row["title"],
    "backbone": lambda row: row["backbone"],
    "run": lambda row: row["run"],
    "variant": lambda row: row["variant"] or _NONE,
}


def markdown(result: Result, pictures: str = "") -> str:
    """A result as a section of a page: heading, command, table, gains, pictures, machine.

    Args:
        result: The result.
        pictures: Folder of its pictures, as the page has it.
    """
    rows = result["rows"]
    parts = [f"## {_heading(result)}", f"```\n{result['command']}\n```", _about(result)]
    done = [row for row in rows if "error" not in row]
    if shown_figures(done):
        parts.append(table(done))
        parts.append(gains(done))
    parts += [f"![{result['title']}]({pictures}{name})" for name in result["pictures"]]
    failed = [f"- {_case(row)}: {row['error']}" for row in rows if "error" in row]
    if failed:
        parts.append("Not done:\n\n" + "\n".join(failed))
    parts.append(_made(result))
    return "\n\n".join(part for part in parts if part) + "\n"


def table(rows: Sequence[Row]) -> str:
    """Rows as a table; a column that would say the same in every row is left out.

    Example:
        >>> row = {"data": "photos", "backbone": "lite0", "method": "gradcam", "title": "Grad-CAM"}
        >>> row |= {"run": "SESS", "variant": "", "printed": {"overall": 57.3}}
        >>> row |= {"figures": {"overall": {"value": 0.58, "low": 0.57, "high": 0.591}}}
        >>> print(table([row]))
        | Overall: paper | ours | difference |
        |---:|---:|---:|
        | 57.3 | 58.0 (57.0 to 59.1) | +0.7 |
    """
    names = shown_figures(rows)
    keys = [key for key in _COLUMNS if len({row[key] for row in rows}) > 1]
    heads, ends = [key.capitalize() for key in keys], ["---"] * len(keys)
    with_paper = [name for name in names if any(name in row["printed"] for row in rows)]
    for name in names:
        heads += _heads(name, name in with_paper)
        ends += ["---:"] * (3 if name in with_paper else 1)
    lines = [heads, ends]
    for row in rows:
        cells = [_COLUMNS[key](row) for key in keys]
        for name in names:
            cells += _cells(name, row, name in with_paper)
        lines.append(cells)
    return _lines(lines)


def gains(rows: Sequence[Row]) -> str:
    """How much better rows are than those they should be better than, and where they are not."""
    better = [row for row in rows if row.get("gain")]
    names = shown_figures({"figures": row["gain"]} for row in better)
    if not names:
        return ""
    keys = [key for key in _COLUMNS if len({row[key] for row in better}) > 1]
    lines = [
        [*(key.capitalize() for key in keys), *(FIGURES[name].title for name in names)],
        ["---"] * len(keys) + ["---:"] * len(names),
    ]
    for row in better:
        cells = [_COLUMNS[key](row) for key in keys]
        lines.append(cells + [_gain(name, row) for name in names])
    rivals = " and ".join(dict.fromkeys(row["against"] for row in better))
    said = f"Paired difference from {rivals}, in points:\n\n{_lines(lines)}"
    return f"{said}\n\n{_without(better, names, keys)}"


def _heads(name: str, with_paper: bool) -> list[str]:
    title = FIGURES[name].title
    last = "ours / paper" if FIGURES[name].unit == "s" else "difference"
    return [f"{title}: paper", "ours", last] if with_paper else [title]


def _cells(name: str, row: Row, with_paper: bool) -> list[str]:
    figure, printed = row["figures"].get(name), row["printed"].get(name)
    ours = _shown(name, figure)
    if not with_paper:
        return [ours]
    value = _value(name, row)
    if printed is None or value is None:
        return [_NONE if printed is None else _plain(name, printed), ours, _NONE]
    if FIGURES[name].unit == "s":
        return [_plain(name, printed), ours, f"{value / printed:.2f}"]
    return [_plain(name, printed), ours, f"{100 * value - printed:+.1f}"]


def _shown(name: str, figure: dict[str, Any] | None, sign: str = "") -> str:
    if figure is None or figure["value"] is None:
        return _NONE
    by = 100 if FIGURES[name].unit == "%" else 1
    value, *ends = (
        None if figure[key] is None else _plain(name, by * figure[key], sign)
        for key in ("value", "low", "high")
    )
    return str(value) if None in ends else f"{value} ({ends[0]} to {ends[1]})"


def _plain(name: str, value: float, sign: str = "") -> str:
    return f"{value:{sign}.1f}" if FIGURES[name].unit == "%" else f"{value:{sign}.2f}"


def _value(name: str, row: Row) -> float | None:
    found: float | None = row["figures"].get(name, {}).get("value")
    return found


def _gain(name: str, row: Row) -> str:
    return _shown(name, row["gain"].get(name), "+")


def _without(rows: Sequence[Row], names: Sequence[str], keys: Sequence[str]) -> str:
    """Where there is no gain, in words."""
    lost = []
    for row in rows:
        said: dict[str, list[str]] = {}
        for name in names:
            if found := verdict(name, row["gain"].get(name)):
                said.setdefault(found, []).append(FIGURES[name].title)
        if said:
            which = ", ".join(_COLUMNS[key](row) for key in keys)
            of_row = "; ".join(f"{found}: {', '.join(titles)}" for found, titles in said.items())
            lost.append(f"- {which}: {of_row}" if which else f"- {of_row}")
    if not lost:
        return "Every figure is better than there."
    return "\n".join(["Not surely better:\n", *lost])


def verdict(name: str, gain: Mapping[str, float | None] | None) -> str:
    """What a difference with its interval says, nothing if it is for the better.

    Example:
        >>> verdict("deletion", {"value": -0.01, "low": -0.02, "high": 0.01})
        'may be chance'
        >>> verdict("deletion", {"value": 0.02, "low": 0.01, "high": 0.03})
        'worse'
    """
    ends = [(gain or {}).get(key) for key in ("low", "high")]
    low, high = (math.nan if end is None else end for end in ends)
    if not FIGURES[name].up:
        low, high = -high, -low
    if math.isnan(low) or low > 0:
        return ""
    return "worse" if high < 0 else "may be chance"


def _case(row: Row) -> str:
    parts = [row["title"], row["backbone"], row["run"], row["variant"]]
    return ", ".join(part for part in parts if part)


def _heading(result: Result) -> str:
    place, title = result["paper"], result["title"]
    name = result["what"]
    is_of_paper = name.startswith(("table", "fig"))
    return f"{place}: {title[0].lower()}{title[1:]}" if is_of_paper else title


def _about(result: Result) -> str:
    """What all rows are of, in a paragraph."""
    rows = [row for row in result["rows"] if "images" in row]
    said = []
    for data in dict.fromkeys(row["data"] for row in rows):
        mine = [row for row in rows if row["data"] == data]
        counts = sorted({row["images"] for row in mine})
        of = f" of {mine[0]['of']:,}, seed {result['seed']}" if "of" in mine[0] else ""
        images = "image" if counts == [1] else "images"
        said.append(f"{' to '.join(f'{one:,}' for one in counts)} {images} from `{data}`{of}.")
    for key in ("method", "backbone"):
        found = {_COLUMNS[key](row) for row in rows}
        said += [f"{key.capitalize()}: {found.pop()}."] if len(found) == 1 else []
    if any("low" in one and one["low"] is not None for row in rows for one in _figures(row)):
        is_time = all(name == "seconds" for row in rows for name in row.get("figures", {}))
        said.append(f"In brackets {'quartiles' if is_time else '95 % bootstrap intervals'}.")
    failed = sum(row["failed"] for row in rows)
    said += [f"{failed} times an image could not be judged."] if failed else []
    return " ".join([*said, result["note"]]).strip()


def _figures(row: Row) -> list[dict[str, Any]]:
    return list(row.get("figures", {}).values())


def _made(result: Result) -> str:
    about = result["machine"]
    versions = ", ".join(f"{name} {one}" for name, one in about["versions"].items())
    return (
        f"*{result['date']}, {about['device']}, {about['cores']} cores, {about['threads']} "
        f"thread(s) a worker, Python {about['python']}; {versions}*"
    )


def _lines(rows: Iterable[Sequence[str]]) -> str:
    found = []
    for row in rows:
        is_rule = all(cell.startswith("---") for cell in row)
        found.append("|" + "|".join(row) + "|" if is_rule else f"| {' | '.join(row)} |")
    return "\n".join(found)

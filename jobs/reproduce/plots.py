"""Plots of rows: figures over the values of a setting, as figures 5 and 6 of the paper."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from jobs.reproduce.cases import Row
from jobs.reproduce.experiment import Experiment
from jobs.reproduce.names import FIGURES, shown_figures
from sess_kernels.errors import SessError

# colours of Okabe and Ito, which the colour-blind tell apart; markers differ as well
_LOOKS = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#595959", "v"))
_PANEL = (4.0, 3.4)  # inches
_DPI = 120


def new_figure(width: float, height: float) -> Any:
    """An empty figure of matplotlib that needs no window, in inches.

    Raises:
        SessError: If matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SessError('plots need matplotlib: pip install "sess-pipeline[demo]"') from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


_OF_JPEG = {"quality": 92, "subsampling": 0}  # red frames stay red


def file_of(figure: Any, kind: str = "png") -> bytes:
    """A figure as a file; ``jpg`` serves where photographs are in it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=_DPI, pil_kwargs=_OF_JPEG if kind == "jpg" else {})
    return buffer.getvalue()


def draw_curves(experiment: Experiment, rows: Sequence[Row]) -> bytes | None:
    """A PNG with a panel for each figure, a line for each backbone and method.

    Bands are the 95 % intervals; a level line is the run that the curve should be better than.

    Args:
        experiment: Has the setting that varies.
        rows: Its rows.

    Returns:
        Nothing if no row belongs to a curve.

    Raises:
        SessError: If matplotlib is missing.
    """
    curve = [row for row in rows if row["at"] is not None and "figures" in row]
    names = shown_figures(curve)
    vary = next((run.vary for run in experiment.runs if run.vary), None)
    if not names or vary is None:
        return None
    figure = new_figure(_PANEL[0] * len(names), _PANEL[1] + 0.3)
    [panels] = figure.subplots(1, len(names), squeeze=False)
    for axes, name in zip(panels, names, strict=True):
        for look, line in zip(_looks(curve), _lines(curve), strict=True):
            _line(axes, name, line, look)
            _level(axes, name, line[0], rows, look)
        better = "higher is better" if FIGURES[name].up else "lower is better"
        axes.set(title=f"{FIGURES[name].title} ({better})", xlabel=vary.title)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("%")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return file_of(figure)


def _lines(curve: Sequence[Row]) -> list[list[Row]]:
    lines: dict[tuple[str, ...], list[Row]] = {}
    for row in curve:
        lines.setdefault(_line_key(row), []).append(row)
    return [sorted(line, key=lambda row: float(row["at"])) for line in lines.values()]


def _looks(curve: Sequence[Row]) -> list[tuple[str, str]]:
    return [_LOOKS[number % len(_LOOKS)] for number, _ in enumerate(_lines(curve))]


def _line_key(row: Row) -> tuple[str, ...]:
    return row["data"], row["backbone"], row["method"]


def _line(axes: Any, name: str, line: Sequence[Row], look: tuple[str, str]) -> None:
    points = [(row["at"], row["figures"][name]) for row in line if name in row["figures"]]
    at = [value for value, _ in points]
    middle, low, high = (
        [100 * figure[key] for _, figure in points] for key in ("value", "low", "high")
    )
    label = f"{line[0]['title']}, {line[0]['backbone'].rpartition('/')[2]}"
    axes.plot(at, middle, color=look[0], marker=look[1], markersize=4, label=label)
    axes.fill_between(at, low, high, color=look[0], alpha=0.15, linewidth=0)


def _level(axes: Any, name: str, of: Row, rows: Sequence[Row], look: tuple[str, str]) -> None:
    for row in rows:
        is_rival = row["run"] == of["against"] and _line_key(row) == _line_key(of)
        if is_rival and name in row.get("figures", {}):
            value = 100 * row["figures"][name]["value"]
            label = f"{row['run']}, {row['backbone'].rpartition('/')[2]}"
            axes.axhline(value, color=look[0], linestyle="--", linewidth=1, label=label)

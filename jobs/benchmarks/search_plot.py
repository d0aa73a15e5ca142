"""A picture of ``sess bench --what search``: what is found over what it costs, a panel a file.

Example: python -m jobs.benchmarks.search_plot "ImageNet=a.json" "VOC 2012=b.json" --out search.png
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.benchmarks.measure import Row
from jobs.benchmarks.searched import COARSE, FEWER, RANDOM, SEARCH
from sess_kernels.errors import SessError

# colours of Okabe and Ito, which the colour-blind tell apart; markers and lines differ as well
_LOOKS = {
    SEARCH: {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    COARSE: {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    RANDOM: {"color": "#595959", "marker": "^", "linestyle": ":"},
    FEWER: {"color": "#009E73", "marker": "D", "linestyle": "none"},
}
_PANEL = (4.6, 4.0)  # inches
_DPI = 120


def draw(files: Mapping[str, Path], out: Path) -> None:
    """Draw the results of benchmarks into a PNG.

    Args:
        files: JSON of ``sess bench --what search --out`` by the title of its panel.
        out: The PNG.

    Raises:
        SessError: If matplotlib is missing, or a file holds no such result.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SessError('pictures need matplotlib: pip install "sess-pipeline[demo]"') from error
    panels = {title: rows_of(path) for title, path in files.items()}
    figure = Figure(figsize=(_PANEL[0] * len(panels), _PANEL[1]), layout="constrained")
    FigureCanvasAgg(figure)
    [axes] = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)
    for one, (title, rows) in zip(axes, panels.items(), strict=True):
        _panel(one, title, rows)
    axes[0].set_xlim(left=0)  # of all panels, and after them: what comes later would not widen it
    axes[0].set_ylabel("share of the patches to keep that is found")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(_LOOKS))
    figure.savefig(out, dpi=_DPI)


def rows_of(path: Path) -> list[Row]:
    """The rows of a result that tell what a rule found.

    Raises:
        SessError: If there are none.
    """
    rows: list[Row] = json.loads(path.read_text())["rows"]
    found = [row for row in rows if "share_of_windows" in row]
    if not found:
        raise SessError(f"{path} holds no result of sess bench --what search")
    return found


def _panel(axes: Any, title: str, rows: Sequence[Row]) -> None:
    for rule, look in _LOOKS.items():
        mine = [row for row in rows if row["rule"] == rule]
        at = ([row[name] for row in mine] for name in ("share_of_windows", "recall"))
        # which scales the rows of FEWER say; the others have an aim in theirs
        label = mine[0]["what"].rpartition(", r =")[0] if rule == FEWER and mine else rule
        axes.plot(*at, label=label, **look)
        for number, row in enumerate(mine if rule == SEARCH else ()):
            place = (row["share_of_windows"], row["recall"])
            aim, side = f"{row['search_recall']:g}", -13 if number % 2 else 7  # close by: in turns
            axes.annotate(
                aim, place, (0, side), textcoords="offset points", ha="center", fontsize=8
            )
    axes.set(title=title, xlabel="share of the windows that are scored", ylim=(0, 1.05))
    axes.grid(alpha=0.3)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, prog="jobs.benchmarks.search_plot")
    parser.add_argument("files", nargs="+", metavar="TITLE=FILE")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(argv)
    named = [one.rpartition("=") for one in given.files]
    draw({title or Path(file).stem: Path(file) for title, _, file in named}, given.out)


if __name__ == "__main__":
    main()

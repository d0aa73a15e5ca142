"""``sess reproduce``: the experiments of the paper on one's own data, beside what it printed."""

from __future__ import annotations

import json as json_
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jobs.reproduce.cases import Row
from jobs.reproduce.experiment import WHATS, Experiment, read_experiment
from jobs.reproduce.page import write_page
from jobs.reproduce.plots import draw_curves, new_figure
from jobs.reproduce.results import Result, new_result, write_result
from jobs.reproduce.settings import ReproduceConfig
from jobs.reproduce.tables import markdown
from pipeline.files import Folder
from sess_kernels.errors import SessError

Flag = Annotated[bool, Parameter(negative="")]
Measure = Callable[[Experiment, ReproduceConfig, bool], Iterator[Row]]


def reproduce(
    *what: str,
    settings: Annotated[ReproduceConfig, Parameter(name="*")] | None = None,
    page: Path | None = None,
    quiet: Flag = False,
    json: Flag = False,
) -> int:
    """Repeat experiments of the paper and set what comes out beside what it printed.

    Each gives OUT/WHAT.md, a table, and OUT/WHAT.json; some give plots or pictures, which need
    matplotlib. What is done already is not done again.

    Example: sess reproduce table1 fig5 --data "imagenet:ILSVRC?split=val" --out results

    Args:
        what: table1 (insertion and deletion), table2 (seconds), table3 (pointing game), fig5
            (scales), fig6 (pre-filter), fig7 (channel-wise weights), fig9 (weighted average),
            fig10 (step sizes), fig11 (patches); theta, weights, steps (scores over these, of
            which the paper has none). None, to write --page alone.
        settings: Settings; the paper's where they are not given.
        page: Write all results in OUT, and in folders within it, to one page of markdown.
        quiet: Print nothing but faults.
        json: Print the results as JSON.
    """
    settings = settings or ReproduceConfig()
    experiments = [read_experiment(name) for name in what]
    if not (experiments or page):
        raise SessError(f"say what to reproduce: {', '.join(WHATS)}; or give --page FILE")
    results = []
    for experiment in experiments:
        result, table = _made(experiment, settings, show=not (quiet or json))
        results.append(result)
        if not (quiet or json):
            print(table)
    if page:
        found = write_page(settings.out, page)
        if not (quiet or json):
            print(f"{found} results in {page}")
    if json:
        print(json_.dumps(results))
    rows = [row for result in results for row in result["rows"]]
    return int(any("error" in row or row.get("failed") for row in rows))


def _made(experiment: Experiment, settings: ReproduceConfig, show: bool) -> tuple[Result, str]:
    """The result of an experiment and its table; both are written after every row."""
    if any(run.vary for run in experiment.runs):
        new_figure(1, 1)  # a plot is wanted at the end: matplotlib is there
    out, rows = Folder.of(settings.out), list[Row]()
    for row in _measure(experiment.kind)(experiment, settings, show):
        rows.append(row)
        if show:
            case = ", ".join((row["title"], row["backbone"], row["variant"] or row["run"]))
            print(f"{experiment.name}: {case}: {row.get('error', 'done')}", file=sys.stderr)
        _written(experiment, settings, rows, out)
    return _written(experiment, settings, rows, out, draw_curves(experiment, rows))


def _written(
    experiment: Experiment,
    settings: ReproduceConfig,
    rows: list[Row],
    out: Folder,
    curves: bytes | None = None,
) -> tuple[Result, str]:
    result = new_result(experiment, settings, rows)
    if curves:
        name = f"{experiment.name}.png"
        out.write(name, curves)
        result["pictures"].append(name)
    table = markdown(result)
    write_result(result, table, out)
    return result, table


def _measure(kind: str) -> Measure:
    """What makes the rows of a kind of experiment, the module of its name; loaded when needed."""
    found: Measure = import_module(f"jobs.reproduce.{kind}").measure
    return found

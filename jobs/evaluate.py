"""``sess evaluate``: how good the maps of a run are."""

from __future__ import annotations

import json as json_
import math
import sys
from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from jobs.progress import ImagesProgress
from jobs.run import Flag
from pipeline.evaluation import Evaluation, EvaluationConfig, difference, failed_images, notes_of
from pipeline.evaluation import evaluate as evaluate_maps
from pipeline.evaluation.result import interval_dict
from sess_kernels.metrics import Interval

_SHOWN_FAULTS = 5
_IN_SECONDS = "seconds"
_CELL = len("-100.0 (-100.0 to -100.0)")
_WIDTH = 110


def evaluate(
    out: str,
    against: str | None = None,
    /,
    *,
    truth: str | None = None,
    settings: Annotated[EvaluationConfig, Parameter(name="*")] | None = None,
    dest: str | None = None,
    classes: Flag = False,
    overwrite: Flag = False,
    quiet: Flag = False,
    json: Flag = False,
) -> int:
    """Judge the maps in OUT; with a second folder also how they differ from the maps there.

    Example: sess evaluate maps --truth voc:VOC2007 --metric pointing,corloc --tolerance 15

    Args:
        out: Folder of a run; of one that is not finished, what is committed is judged.
        against: Folder of another run of the same images, judged likewise and subtracted.
        truth: Annotations: voc:DIR, coco:FILE.json, imagenet:DIR, table:FILE or masks:DIR.
        settings: Settings of the evaluation.
        dest: Folder for evaluation.json and images/*.parquet; one below OUT/evaluation if not
            given.
        classes: Show the figures of every class.
        overwrite: Judge anew, whatever an earlier evaluation found.
        quiet: Print nothing but faults.
        json: Print what is found as JSON.
    """
    config = settings or EvaluationConfig()
    found: dict[str, Evaluation] = {}
    given = {out: dest} | ({against: None} if against else {})
    for folder, place in given.items():
        with ImagesProgress("judging", show=not (quiet or json)) as progress:
            found[folder] = evaluate_maps(
                folder,
                truth,
                config,
                dest=place,
                overwrite=overwrite,
                on_begin=progress.begin,
                on_images=progress.done,
            )[""]
    places = {folder: one.place for folder, one in found.items()}
    changed = difference(places[out], places[against]) if against else {}
    if json:
        print(json_.dumps(_as_json(found, changed)))
    elif not quiet:
        _show(found, changed, classes)
        Console().print(f"details: {', '.join(places.values())}")
    if not quiet:
        _note(list(places.values()))
    for place in places.values():
        for image_id, reason in islice(failed_images(place), _SHOWN_FAULTS):
            print(f"not judged: {image_id}: {reason}", file=sys.stderr)
    return int(any(one.failed for one in found.values()))


def _note(places: Sequence[str]) -> None:
    """Tell what makes no sense in the annotations."""
    notes = list(dict.fromkeys(note for place in places for note in notes_of(place)))
    for note in notes[:_SHOWN_FAULTS]:
        print(f"note: {note}", file=sys.stderr)
    if len(notes) > _SHOWN_FAULTS:
        print(f"note: ... {len(notes) - _SHOWN_FAULTS} more", file=sys.stderr)


def _as_json(found: dict[str, Evaluation], changed: dict[str, Interval]) -> dict[str, Any]:
    said: dict[str, Any] = {"runs": {folder: one.to_dict() for folder, one in found.items()}}
    if changed:
        said["difference"] = {name: interval_dict(one) for name, one in changed.items()}
    return said


def _show(found: dict[str, Evaluation], changed: dict[str, Interval], classes: bool) -> None:
    table = Table(title="sess evaluate", title_justify="left")
    table.add_column("")
    for heading in (*found, *(["difference"] if changed else [])):
        table.add_column(heading, justify="right", min_width=_CELL, overflow="fold")
    names = list(dict.fromkeys(name for one in found.values() for name in one.figures))
    for name in names:
        cells = [_said(name, one.figures.get(name)) for one in found.values()]
        if changed:
            cells.append(_said(name, changed.get(name), signed=True))
        table.add_row(name, *cells)
    table.add_section()
    for title in ("images", "maps", "failed"):
        table.add_row(title, *(f"{getattr(one, title):,}" for one in found.values()))
    _print(table)
    for metric in found[next(iter(found))].judged:
        numbers = [one.judged.get(metric, 0) for one in found.values()]
        if not all(numbers):
            print(f"note: {metric} judged no map; does the truth know these images and classes?")
    if classes:
        for folder, one in found.items():
            _show_classes(folder, one)


def _show_classes(folder: str, one: Evaluation) -> None:
    names = list(dict.fromkeys(name for of_class in one.classes.values() for name in of_class))
    table = Table(title=folder, title_justify="left")
    for name in ("class", *names):
        table.add_column(name, justify="left" if name == "class" else "right")
    for label, of_class in one.classes.items():
        said = (_percent(of_class[name]) if name in of_class else "" for name in names)
        table.add_row(label, *said)
    _print(table)


def _print(table: Table) -> None:
    console = Console()
    console.width = max(console.width, _WIDTH)  # a file or a pipe has none of its own
    console.print(table)


def _said(name: str, interval: Interval | None, signed: bool = False) -> str:
    if interval is None or math.isnan(interval.value):
        return "-"
    if name == _IN_SECONDS:
        return f"{interval.value:.3f} s"
    sign = "+" if signed else ""
    if math.isnan(interval.low):
        return f"{100 * interval.value:{sign}.1f}"
    low, high = 100 * interval.low, 100 * interval.high
    return f"{100 * interval.value:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"

"""An evaluation, from the maps of a run to figures with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.engines.units import map_units
from pipeline.evaluation.begin import (
    COMPLETE,
    EVALUATION_FILE,
    begin,
    job_of,
    place_of,
    settings_of,
    units_of,
    write,
)
from pipeline.evaluation.config import EvaluationConfig
from pipeline.evaluation.job import PLAIN, EvaluationJob, Unit, Variants
from pipeline.evaluation.judges import judges_of
from pipeline.evaluation.parts import PartWriter, judged_images, read_parts
from pipeline.evaluation.result import Evaluation
from pipeline.evaluation.totals import counts_of, keys_of, totals
from pipeline.evaluation.worker import BuildWorker, failed_unit
from pipeline.exports.survey import Survey, survey
from pipeline.files import Folder
from pipeline.records import FAILED
from sess_kernels.errors import SessError
from sess_kernels.metrics import Interval


def evaluate(
    out: str | Path,
    truth: str | None = None,
    config: EvaluationConfig | None = None,
    variants: Variants | None = None,
    *,
    dest: str | Path | None = None,
    overwrite: bool = False,
    on_begin: Callable[[int], None] = lambda images: None,
    on_images: Callable[[int], None] = lambda images: None,
) -> dict[str, Evaluation]:
    """Judge the maps of a run, or go on where an earlier evaluation has stopped.

    Args:
        out: Folder of the run.
        truth: Annotations, as ``KIND:PATH``; see ``pipeline.truth``.
        config: Settings.
        variants: Settings of SESS by name, to judge the maps that a run with them would give. The
            run must have kept all patches: ``keep_patches`` and ``pre_filter_ratio`` 0.
        dest: Folder for what is found: ``evaluation.json`` and ``images/*.parquet``;
            one below ``OUT/evaluation`` if not given.
        overwrite: Replace an earlier evaluation in ``dest``.
        on_begin: Told how many images are left to judge.
        on_images: Told of images that were judged.

    Returns:
        An evaluation for each variant; for ``""``, the maps as they are stored, without any.

    Raises:
        SessError: If there are no maps, a metric lacks what it needs, or ``dest`` holds an
            evaluation with other settings.

    Example:
        >>> evaluate("nowhere", "voc:VOC2007")
        Traceback (most recent call last):
        ...
        sess_kernels.errors.SessError: ...nowhere holds no run; is it the --out of a `sess run`?
    """
    config = config or EvaluationConfig()
    folder = Folder.of(out)
    seen = survey(folder, config.limit)
    job = job_of(folder, seen, truth, config, variants or {})
    settings = settings_of(job, seen, truth)
    place = Folder.of(dest) if dest is not None else place_of(folder, settings)
    begin(place, settings, overwrite)
    units = units_of(job, seen, judged_images(place))
    on_begin(sum(_n_images(unit) for unit in units))
    _judge(job, units, place, on_images)
    found = _summed(job, place, settings, seen)
    record: dict[str, Any] = {"state": COMPLETE, "settings": settings}
    record["classes"] = {str(index): seen.found[index] for index in sorted(seen.found)}
    record["n_classes"] = len(job.class_names)
    record["truth_faults"] = list(job.truth.faults) if job.truth else []
    record["evaluations"] = [one.to_dict() for one in found.values()]
    write(place, record)
    return found


def difference(
    place: str | Path, other: str | Path, variant: str = PLAIN, other_variant: str = PLAIN
) -> dict[str, Interval]:
    """How the figures of one evaluation differ from those of another on the maps both judged.

    The difference is paired: every resample has the same images of both.

    Args:
        place: Folder of the one evaluation.
        other: Folder of the other, which is subtracted.
        variant: Kind of maps of the one.
        other_variant: Kind of maps of the other.

    Raises:
        SessError: If a folder holds no finished evaluation, or they were judged in other ways.
    """
    folders = Folder.of(place), Folder.of(other)
    config, n_classes = _comparable(*folders)
    found: dict[str, Interval] = {}
    for judge in judges_of(config, n_classes):
        kinds = variant, other_variant
        keys = [keys_of(*pair, judge.name) for pair in zip(folders, kinds, strict=True)]
        only = frozenset(keys[0] & keys[1])
        one, two = (
            totals(*pair, [judge], n_classes, config.resamples, only)[judge.name]
            for pair in zip(folders, kinds, strict=True)
        )
        found |= one.minus(two)
    return found


def read_evaluations(place: str | Path) -> dict[str, Evaluation]:
    """What ``evaluate`` found, by variant.

    Raises:
        SessError: If there is no finished evaluation.
    """
    folder = Folder.of(place)
    found = [one | {"place": folder.uri} for one in _record(folder)["evaluations"]]
    return {one["name"]: Evaluation.of(one) for one in found}


def failed_images(place: str | Path) -> Iterator[tuple[str, str]]:
    """Images that could not be judged, with the reason."""
    for table in read_parts(Folder.of(place), ["image_id", "status", "error"]):
        for row in table.to_pylist():
            if row["status"] == FAILED:
                yield row["image_id"], row["error"]


def notes_of(place: str | Path) -> Iterator[str]:
    """What makes no sense in the annotations, each once, with its place."""
    folder = Folder.of(place)
    seen = dict.fromkeys(_record(folder)["truth_faults"])
    yield from seen
    for table in read_parts(folder, ["note"]):
        for note in table["note"].drop_null().to_pylist():
            if note not in seen:
                seen[note] = None
                yield note


def _n_images(unit: Unit) -> int:
    return sum(len(part.rows) for part in unit)


def _judge(
    job: EvaluationJob, units: list[Unit], place: Folder, on_images: Callable[[int], None]
) -> None:
    writer = PartWriter(place)
    try:
        for unit, found in map_units(BuildWorker(job), units, job.run):
            rows = failed_unit(job, unit, found) if isinstance(found, Exception) else found
            writer.add(rows)
            on_images(_n_images(unit))
    finally:
        writer.flush()


def _summed(
    job: EvaluationJob, place: Folder, settings: dict[str, Any], seen: Survey
) -> dict[str, Evaluation]:
    judges = judges_of(job.config, len(job.class_names))
    counts = counts_of(place)
    found = {}
    for name in job.variants or {PLAIN: {}}:
        sums = totals(place, name, judges, len(job.class_names), job.config.resamples)
        figures: dict[str, Interval] = {}
        classes: dict[str, dict[str, float]] = {}
        for one in sums.values():
            figures |= one.figures()
            for of_class, values in one.of_classes(job.class_names).items():
                classes.setdefault(of_class, {}).update(values)
        if "time" in job.config.metrics:
            figures |= _time(seen)
        judged = {metric: one.n_judged for metric, one in sums.items()}
        images, maps = counts.judged.get(name, (0, 0))
        found[name] = Evaluation(
            name, place.uri, images, maps, counts.failed, judged, figures, classes, settings
        )
    return found


def _time(seen: Survey) -> dict[str, Interval]:
    """Seconds of the run for each of the images that it did last."""
    summary = seen.record.get("summary") or {}
    done = summary.get("images", 0) - summary.get("resumed", 0)
    if not done:
        return {}
    return {"seconds": Interval(summary["run_s"] / done, float("nan"), float("nan"))}


def _record(place: Folder) -> dict[str, Any]:
    record = place.read_json(EVALUATION_FILE) if place.exists(EVALUATION_FILE) else {}
    if record.get("state") != COMPLETE:
        raise SessError(f"{place.uri} holds no finished evaluation; `sess evaluate` makes one")
    found: dict[str, Any] = record
    return found


def _comparable(one: Folder, two: Folder) -> tuple[EvaluationConfig, int]:
    """The settings that two evaluations share, and how many classes they have."""
    first, second = [_record(place) for place in (one, two)]
    names = EvaluationConfig().binding
    differ = [name for name in names if first["settings"][name] != second["settings"][name]]
    shared = first["classes"].keys() & second["classes"].keys()
    if any(first["classes"][index] != second["classes"][index] for index in shared):
        differ.append("classes")
    if first["n_classes"] != second["n_classes"]:
        differ.append("number of classes")
    if differ:
        raise SessError(
            f"{one.uri} and {two.uri} differ in {', '.join(differ)}; judge both alike to compare"
        )
    settings = {name: first["settings"][name] for name in names}
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    return EvaluationConfig(**settings), int(first["n_classes"])

"""How an evaluation begins: what is asked for is checked, what is left to do is found."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq

from pipeline.commit import committed
from pipeline.config import RunConfig
from pipeline.evaluation.config import PLACEMENT, EvaluationConfig
from pipeline.evaluation.job import EvaluationJob, Part, Unit, Variants
from pipeline.evaluation.judges import judges_of
from pipeline.evaluation.parts import IMAGES_FOLDER
from pipeline.exports.survey import Survey
from pipeline.files import Folder
from pipeline.layout import MAPS_FOLDER
from pipeline.stages import BackboneSpec
from pipeline.stores import open_file
from pipeline.streams import ahead
from pipeline.truth import open_truth
from sess_kernels.errors import SessError

EVALUATION_FILE = "evaluation.json"
EVALUATION_FOLDER = "evaluation"
RUNNING, COMPLETE = "running", "complete"

_TOGETHER = 8  # images of a unit: their forwards share device batches
_SHOWN = 4
_READERS = 8


def job_of(
    out: Folder, seen: Survey, truth: str | None, config: EvaluationConfig, variants: Variants
) -> EvaluationJob:
    """An evaluation of a run.

    Raises:
        SessError: If the annotations cannot be read, or a metric lacks what it needs.
    """
    stored = RunConfig(**seen.record["config"])
    given = {name: getattr(config, name) for name in PLACEMENT}
    run = replace(stored, **{name: one for name, one in given.items() if one is not None})
    names = _class_names(seen)
    annotations = open_truth(truth, names) if truth else None
    for judge in judges_of(config, len(names)):
        judge.check(annotations)
    spec = BackboneSpec.of(stored)
    return EvaluationJob(out, run, spec, config, annotations, names, variants)


def _class_names(seen: Survey) -> tuple[str, ...]:
    """Name of each class index; of a run that did not record them those that occur."""
    resolved = seen.record.get("resolved", {})
    if names := resolved.get("class_names") or resolved.get("class_groups"):
        return tuple(names)
    return tuple(seen.found.get(index, str(index)) for index in range(max(seen.found) + 1))


def settings_of(job: EvaluationJob, seen: Survey, truth: str | None) -> dict[str, Any]:
    """What the figures depend on, as JSON has it."""
    variants = {name: dict(changes) for name, changes in job.variants.items()}
    # a run that replaced another one in OUT has begun at another time
    settings = {"run": job.out.uri, "run_started": seen.record.get("started"), "truth": truth}
    settings |= {"variants": variants, **job.config.binding}
    found: dict[str, Any] = json.loads(json.dumps(settings))
    return found


def place_of(out: Folder, settings: dict[str, Any]) -> Folder:
    """Where an evaluation is if nobody says: a folder for each way to judge a run."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return out / EVALUATION_FOLDER / f"{'-'.join(settings['metric'])}-{digest}"


def begin(place: Folder, settings: dict[str, Any], overwrite: bool) -> None:
    """A folder that holds an evaluation with these settings, or nothing yet.

    Raises:
        SessError: If it holds one with others that is not to be overwritten.
    """
    if place.exists(EVALUATION_FILE) and overwrite:
        place.remove(EVALUATION_FILE)
        (place / IMAGES_FOLDER).delete()  # and nothing else that is in the folder
    if place.exists(EVALUATION_FILE):
        earlier = place.read_json(EVALUATION_FILE).get("settings", {})
        differ = [name for name in settings if earlier.get(name) != settings[name]]
        if not differ:
            return
        shown = (f"{n} {settings[n]!r} (was {earlier.get(n)!r})" for n in differ[:_SHOWN])
        raise SessError(
            f"{place.uri} holds an evaluation with other settings: {', '.join(shown)}; give "
            "another --dest, or --overwrite to replace it"
        )
    place.create()
    write(place, {"state": RUNNING, "settings": settings})


def write(place: Folder, record: dict[str, Any]) -> None:
    """Write ``evaluation.json`` as a whole."""
    place.write(EVALUATION_FILE, json.dumps(record, indent=1).encode() + b"\n")


def units_of(job: EvaluationJob, seen: Survey, done: set[str]) -> list[Unit]:
    """The images that are left, a few in a unit."""
    together = max(1, _TOGETHER // max(1, len(job.variants)))
    units: list[Unit] = []
    for part in _parts(job, seen, done, together):
        if units and sum(len(one.rows) for one in (*units[-1], part)) <= together:
            units[-1] = (*units[-1], part)
        else:
            units.append((part,))
    return units


def _parts(job: EvaluationJob, seen: Survey, done: set[str], together: int) -> list[Part]:
    def read(name: str) -> tuple[str, list[str]]:
        with open_file(f"{(job.out / MAPS_FOLDER).uri}/{name}") as file:
            return name, pq.ParquetFile(file).read(["image_id"])["image_id"].to_pylist()

    parts: list[Part] = []
    for name, ids in ahead(read, committed(job.out), _READERS):
        rows = [row for row, one in enumerate(ids) if one in seen.images and one not in done]
        starts = range(0, len(rows), together)
        parts += [Part(name, tuple(rows[start : start + together])) for start in starts]
    return parts

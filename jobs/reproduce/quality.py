"""Figures of maps: each case is a run of the pipeline and its evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from jobs.progress import ImagesProgress, RunProgress
from jobs.reproduce.cases import Case, Row, cases_of, digest_of
from jobs.reproduce.experiment import Experiment
from jobs.reproduce.kept import rows_of
from jobs.reproduce.settings import Data, ReproduceConfig
from jobs.reproduce.subset import Subset, write_subset
from pipeline import run as run_pipeline
from pipeline.evaluation import Evaluation, EvaluationConfig, difference, evaluate
from pipeline.evaluation.result import interval_dict
from pipeline.files import Folder
from pipeline.read import read_rows
from pipeline.truth import open_truth
from sess_kernels.backbones import imagenet_classes
from sess_kernels.errors import SessError

_RUNS, _JUDGED = "runs", "judged"
_OF_TRUTH = {"pointing", "max_box_acc", "pxap", "localisation", "corloc", "miou"}


@dataclass(frozen=True)
class _Job:
    """What the cases of one source share."""

    settings: ReproduceConfig
    data: Data
    subset: Subset
    judged: EvaluationConfig
    out: Folder
    show: bool

    def name(self, case: Case) -> str:
        """Of the judgement of a case, and of all that its figures depend on."""
        depends = [self.judged.binding, self.data.truth, case.run.changes()]
        return f"{self.maps(case)}-{digest_of(depends)}"

    def maps(self, case: Case) -> str:
        """Of the maps of a case."""
        return case.key(self.settings, self.subset.digest)


def measure(experiment: Experiment, settings: ReproduceConfig, show: bool) -> Iterator[Row]:
    """Rows of an experiment, each as soon as it is there; what is there already is not done again.

    A case that a method cannot do, or lacks a package or weights for, is a row with the reason.

    Args:
        experiment: The experiment.
        settings: What was asked for.
        show: Whether to show progress.

    Raises:
        SessError: If a source or its truth cannot be read, or settings make no sense.
    """
    if not settings.data:
        raise SessError(f"{experiment.name} needs photographs with labels; give --data SOURCE")
    out = Folder.of(settings.out)
    for data in settings.sources():
        judged = _judged_by(experiment, settings, data)
        cases = list(cases_of(experiment, settings, data))
        subset = write_subset(data, settings, experiment.images, experiment.seed, out)
        _check_truth(data, subset)
        job = _Job(settings, data, subset, judged, out, show)
        done: dict[tuple[str, str, str], str] = {}
        for case in cases:
            name = job.name(case)
            rival = done.get(_place(case, case.run.against or ""))
            kept = name if rival is None else f"{name}-{digest_of(rival)}"
            rows = rows_of(case, kept, out, partial(_found, job, case, rival))
            if not any("error" in row for row in rows):
                done[_place(case, case.run.name)] = name
            yield from rows


def _place(case: Case, run: str) -> tuple[str, str, str]:
    return case.network.name, case.method.name, run


def _judged_by(experiment: Experiment, settings: ReproduceConfig, data: Data) -> EvaluationConfig:
    """How maps are judged; faults are told before anything has run."""
    given = tuple(name for said in settings.metric for name in said.split(","))
    metrics = given or experiment.metrics
    if data.truth and not settings.metric:
        metrics += experiment.metrics_with_truth
    found = EvaluationConfig(metric=metrics, tolerance=experiment.tolerance)
    blind = [one for one in metrics if one in _OF_TRUTH and not data.truth]
    if blind:
        raise SessError(
            f"{', '.join(blind)} of {data.source} needs boxes or masks; give --truth, one for each "
            "--data"
        )
    return found


def _check_truth(data: Data, subset: Subset) -> None:
    """Faults of the truth are told before anything has run, as far as classes are known then."""
    labels = set(subset.table["labels"].combine_chunks().flatten().to_pylist())
    is_named = not all(label.isdigit() for label in labels)
    if data.truth and is_named:
        open_truth(data.truth, sorted(labels))
    elif data.truth and data.truth.startswith(("table:", "imagenet:")):
        open_truth(data.truth, imagenet_classes())


def _found(job: _Job, case: Case, rival: str | None) -> dict[str, dict[str, Any]]:
    """Figures by variant, of maps that are made now or were made earlier."""
    maps = (job.out / _RUNS / job.maps(case)).uri
    with RunProgress(show=job.show) as progress:
        summary = run_pipeline(
            job.subset.source,
            maps,
            case.config(job.settings),
            on_plan=progress.planned,
            on_placed=progress.placed,
            on_batch=progress.done,
        )
    if summary.images == summary.failed:
        raise SessError(f"all {summary.images} images failed, the first one so: {_fault(maps)}")
    judged, changes = job.out / _JUDGED, case.run.changes()
    dest = (judged / job.name(case)).uri
    with ImagesProgress("judging", show=job.show) as images:
        found = evaluate(
            maps,
            job.data.truth,
            job.judged,
            changes or None,
            dest=dest,
            on_begin=images.begin,
            on_images=images.done,
        )
    told = {name: _told(one, summary.failed) for name, one in found.items()}
    for name in told if rival else ():
        gain = difference(dest, (judged / str(rival)).uri, name)
        told[name]["gain"] = {key: interval_dict(one) for key, one in gain.items()}
    return {name: one | {"of": job.subset.of} for name, one in told.items()}


def _fault(maps: str) -> str:
    return next((row["error"] for row in read_rows(maps) if row["error"]), "see its run.json")


def _told(found: Evaluation, failed: int) -> dict[str, Any]:
    told = found.to_dict()
    kept = {key: told[key] for key in ("images", "maps", "figures")}
    return kept | {"failed": found.failed + failed}

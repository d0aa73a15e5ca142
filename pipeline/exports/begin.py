"""How an export begins: all that can be known before its first image is checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.exports.classes import Classes
from pipeline.exports.coco_ids import CocoIds
from pipeline.exports.config import ExportConfig
from pipeline.exports.image_names import ImageNames
from pipeline.exports.job import ExportJob, Format
from pipeline.exports.labelled import MAX_CLASSES
from pipeline.exports.summary import ExportSummary
from pipeline.exports.survey import Survey
from pipeline.files import Folder
from sess_kernels.errors import SessError, one_line, unknown

EXPORT_FILE = "export.json"
"""Marks a folder as one that an export made, and says what it was made of."""

WRITING, COMPLETE = "writing", "complete"


def begin(
    found: Survey, out: Folder, kind: Format, to: str, config: ExportConfig, overwrite: bool
) -> ExportJob:
    """The export of a run.

    Args:
        found: What the run holds.
        out: Its folder.
        kind: Format of the export.
        to: Where it goes.
        config: Its settings.
        overwrite: Whether an earlier export may be replaced.

    Raises:
        SessError: If format, classes, names or settings do not go together.
    """
    asked = kind.coco_ids(config)
    ids = CocoIds.of(config, found.record["source"]) if asked else CocoIds()
    job = ExportJob(
        out=out,
        to=to,
        config=config,
        wanted=kind.wanted(config),
        record=found.record,
        classes=Classes.of(found.found, found.record),
        names=ImageNames(found.images, kind.is_folder and _ignores_case(Folder.of(to))),
        coco_ids=ids,
        images=found.images,
        overwrite=overwrite,
    )
    if job.wanted.images not in kind.may:
        raise SessError(unknown("images of this export", job.wanted.images, kind.may))
    if job.wanted.images == "link" and not job.dest.is_local:
        raise SessError(f"--dest {to} cannot hold links; give --images copy or none")
    n_classes = len(job.classes.names)
    if job.wanted.mask and n_classes > MAX_CLASSES:
        raise SessError(
            f"masks hold {MAX_CLASSES} classes but the dataset has {n_classes}; "
            "export boxes, or run with --class-groups"
        )
    if kind.by_stem:
        job.names.check(found.images)
    kind.check(job)
    return job


@contextmanager
def recorded(job: ExportJob, summary: ExportSummary) -> Iterator[None]:
    """An empty folder for an export, and what it was made of in it.

    Raises:
        SessError: If the folder holds something else.
    """
    _clear(job)
    record = {
        "state": WRITING,
        "format": summary.to,
        "run": job.out.uri,
        "config": asdict(job.config),
        "classes": list(job.classes.names),
    }
    _write(job.dest, record)
    yield
    _write(job.dest, record | {"state": COMPLETE, "summary": summary.to_dict()})


def _write(dest: Folder, record: dict[str, Any]) -> None:
    dest.write(EXPORT_FILE, json.dumps(record, indent=1).encode() + b"\n")


def _clear(job: ExportJob) -> None:
    dest, out = job.dest, job.out
    if f"{out.uri}/".startswith(f"{dest.uri}/"):
        raise SessError(f"--dest {dest.uri} is where the run is; give another folder")
    try:
        if not dest.is_empty():
            if not dest.exists(EXPORT_FILE):
                raise SessError(f"--dest {dest.uri} is not empty and holds no export; give another")
            if not job.overwrite and _is_complete(dest):
                raise SessError(
                    f"--dest {dest.uri} holds an export; give another, or --overwrite to replace it"
                )
            dest.delete()
        dest.create()
    except OSError as error:
        raise SessError(
            f"--dest {dest.uri} cannot be written: {error.strerror or one_line(error)}; "
            "give a folder that you may write to"
        ) from error


def _is_complete(dest: Folder) -> bool:
    """Whether an export there has ended; one that broke off is no loss."""
    try:
        return bool(dest.read_json(EXPORT_FILE)["state"] != WRITING)
    except (ValueError, KeyError, TypeError):
        return True


def _ignores_case(dest: Folder) -> bool:
    """Whether a folder that may not be there yet will take ``A`` and ``a`` for one file."""
    if not dest.is_local:
        return False
    there = (one for one in (Path(dest.path), *Path(dest.path).parents) if one.is_dir())
    return Folder.of(next(there)).ignores_case()

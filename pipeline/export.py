"""From the maps of a run to labels that training programs read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

from pipeline.exports.begin import begin, recorded
from pipeline.exports.config import ExportConfig
from pipeline.exports.job import ExportJob, Format
from pipeline.exports.labelled import LabelledImage, Skipped
from pipeline.exports.labeller import Labeller
from pipeline.exports.summary import ExportSummary
from pipeline.exports.survey import Survey, survey
from pipeline.files import Folder
from pipeline.members import RowReader, is_row
from pipeline.read import ImageMaps, read_images
from pipeline.sinks.arrays import IRN, PSA, WSOL
from pipeline.sinks.coco import COCO
from pipeline.sinks.fiftyone import FIFTYONE
from pipeline.sinks.huggingface import HUGGINGFACE
from pipeline.sinks.masks import MASKS
from pipeline.sinks.proposals import PROPOSALS
from pipeline.sinks.voc import VOC
from pipeline.sinks.yolo import YOLO
from pipeline.streams import ahead
from sess_kernels.errors import SessError, one_line, unknown

EXPORTS: dict[str, Format] = {
    "coco": COCO,
    "voc": VOC,
    "yolo": YOLO,
    "proposals": PROPOSALS,
    "masks": MASKS,
    "irn": IRN,
    "psa": PSA,
    "wsol": WSOL,
    "huggingface": HUGGINGFACE,
    "fiftyone": FIFTYONE,
}
"""Formats by name."""


def export(
    out: str | Path,
    to: str,
    dest: str | Path,
    config: ExportConfig | None = None,
    *,
    overwrite: bool = False,
    on_begin: Callable[[int], None] = lambda images: None,
    on_image: Callable[[], None] = lambda: None,
) -> ExportSummary:
    """Write what the maps of a run mark as files that training programs read.

    Images are worked on one after the other, however many there are. Of a run that is not finished,
    what is committed is exported. ``export.json`` in ``dest`` says what was made of what.

    Args:
        out: Folder of the run.
        to: Name of a format, see ``EXPORTS``.
        dest: Folder for the files as path or URI; the name of the dataset for ``fiftyone``.
        config: Settings.
        overwrite: Replace an earlier export in ``dest``.
        on_begin: Told how many images there are.
        on_image: Called after every image, skipped ones too.

    Raises:
        SessError: If the settings are bad, there are no maps, or ``dest`` cannot be written.

    Example:
        >>> export("maps", "yolov", "labels")
        Traceback (most recent call last):
        ...
        sess_kernels.errors.SessError: unknown export 'yolov'; did you mean 'yolo'? known: coco, ...
    """
    if to not in EXPORTS:
        raise SessError(unknown("export", to, EXPORTS))
    began, kind, config = time.perf_counter(), EXPORTS[to], config or ExportConfig()
    try:
        found = survey(Folder.of(out), config.limit)
        job = begin(found, Folder.of(out), kind, str(dest), config, overwrite)
        summary = _summary(to, kind, found, job)
        on_begin(len(job.images))
        with recorded(job, summary) if kind.is_folder else nullcontext():
            kind.write(_labelled(found, job, summary, on_image), job)
            summary.seconds = time.perf_counter() - began
    except OSError as error:
        raise SessError(
            f"the export of {out} to {dest} broke off: {one_line(error)}; mend the cause and give "
            "the same command again"
        ) from error
    return summary


def _summary(to: str, kind: Format, found: Survey, job: ExportJob) -> ExportSummary:
    dest = job.dest.uri if kind.is_folder else job.to
    summary = ExportSummary(to, dest, kind.read.format(to=dest), len(job.classes.names))
    for image_id, reason in found.failed:
        summary.skip(image_id, reason)
    if found.committed < found.planned and job.config.limit is None:
        summary.notes.append(
            f"the run is not finished: {found.committed} of {found.planned} images are committed"
        )
    lacks = job.coco_ids.lacks(job.classes.names) if job.coco_ids.file else []
    if lacks:
        summary.notes.append(
            f"{job.coco_ids.file} has no category {lacks[0]!r}: categories are numbered from 1"
        )
    return summary


def _labelled(
    found: Survey, job: ExportJob, summary: ExportSummary, on_image: Callable[[], None]
) -> Iterator[LabelledImage]:
    """The images, a few of them worked on at once; counted when a sink takes them."""
    label = Labeller(job)
    work = ahead(lambda one: label(*one), _placed(found, job), job.config.threads)
    for one in work:
        if isinstance(one, Skipped):
            summary.skip(one.image_id, one.reason)
        else:
            summary.add(one, job.wanted.boxes)
            yield one
        on_image()


def _placed(
    found: Survey, job: ExportJob
) -> Iterator[tuple[ImageMaps, int, bytes | Exception | None]]:
    """The images that were there when the export began, with their places.

    Photographs in Parquet files are read here, in their order: see ``members.RowReader``.
    """
    left = len(found.images)
    with RowReader() as rows:
        for image in read_images(job.out.uri):
            place = found.images.get(image.image_id)
            if place is not None:
                content = None
                if job.reads_photographs and is_row(image.uri):
                    [content] = rows.read_many([image.uri])
                yield image, place, content
                left -= 1
            if not left:
                return

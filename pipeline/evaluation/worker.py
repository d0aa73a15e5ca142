"""Judges the maps of images: a worker of an evaluation."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from pipeline.config import RunConfig
from pipeline.evaluation.job import PLAIN, STATISTICS, EvaluationJob, Part, Unit, schema_of
from pipeline.evaluation.judge import Case, Judge, Judged
from pipeline.evaluation.judges import judges_of
from pipeline.layout import MAPS_FOLDER
from pipeline.read import ImageMaps, image_maps
from pipeline.records import FAILED, OK
from pipeline.stages import DecodeWorker
from sess_kernels import SESS, Backbone, SESSConfig, fuse_patches
from sess_kernels.backbones.runtimes import with_runtime
from sess_kernels.errors import one_line

Row = dict[str, Any]


@dataclass(frozen=True)
class BuildWorker:
    """Makes a worker on a device.

    Attributes:
        job: The evaluation.
    """

    job: EvaluationJob

    def __call__(self, device: str) -> EvaluationWorker:
        """The worker, with the backbone loaded if a metric needs it."""
        return EvaluationWorker(self.job, device)


class EvaluationWorker:
    """Reads maps and photographs, makes the variants, and asks every judge.

    Args:
        job: The evaluation.
        device: Where the backbone is.
    """

    def __init__(self, job: EvaluationJob, device: str) -> None:
        self._job, self._held = job, ("", pa.table({}))
        self._decode = DecodeWorker(job.run.max_pixels)
        self.judges = judges_of(job.config, len(job.class_names))
        self._needs_pixels = any(judge.needs_model for judge in self.judges)
        backbone = self._backbone(device) if self._needs_pixels else None
        for judge in self.judges:
            judge.backbone, judge.batch_size = backbone, batch_size_of(job.run, device)
        self._classify = SESS(backbone, config=SESSConfig(scales=0)) if backbone else None
        self._variants = job.variants or {PLAIN: {}}
        self._schema = _schema(self.judges)

    def _backbone(self, device: str) -> Backbone:
        run = self._job.run
        backbone = self._job.backbone.load(device)
        return with_runtime(backbone, run.runtime, batch_size_of(run, device))

    @torch.no_grad()
    def __call__(self, unit: Unit) -> pa.Table:
        """Judge the images of a unit; one that cannot be judged has a row that says why."""
        torch.set_num_threads(self._job.run.threads)
        stored = [row for part in unit for row in self._rows(part)]
        found: list[Row] = []
        cases: list[tuple[Case, str]] = []
        for row, pixels in zip(stored, self._pixels(stored), strict=True):
            try:
                cases += [(one, row["image_id"]) for one in self._cases(row, pixels)]
            except Exception as error:  # bytes of others may do anything; the row says so
                found.append(_failed(row["image_id"], error))
        return pa.Table.from_pylist(found + self._judged(cases), self._schema)

    def _rows(self, part: Part) -> Iterator[Row]:
        if self._held[0] != part.file:  # the next unit is often of the same file
            content = (self._job.out / MAPS_FOLDER).read(part.file)
            self._held = part.file, pq.read_table(io.BytesIO(content))
        yield from self._held[1].take(list(part.rows)).to_pylist()

    def _pixels(self, rows: Sequence[Row]) -> Sequence[Tensor | str | None]:
        if not self._needs_pixels:
            return [None] * len(rows)
        found = self._decode.pixels([row["uri"] for row in rows])
        return [
            one if isinstance(one, str) else torch.from_numpy(one.copy()).permute(2, 0, 1)
            for one in found
        ]

    def _cases(self, row: Row, pixels: Tensor | str | None) -> list[Case]:
        """The maps of an image, of every variant."""
        if isinstance(pixels, str):
            raise OSError(pixels)
        image = image_maps(self._job.out, row)
        size = image.height, image.width
        if pixels is not None and tuple(pixels.shape[1:]) != size:
            raise OSError(
                f"{image.uri} has {pixels.shape[2]}x{pixels.shape[1]} pixels, but its maps have "
                f"{image.width}x{image.height}; was it replaced?"
            )
        truth = self._job.truth.of(image.image_id, size) if self._job.truth else None
        predicted = None
        if self._classify is not None and any(judge.needs_prediction for judge in self.judges):
            assert pixels is not None
            [scores] = self._classify.score_patches([pixels], [None])
            predicted = scores.classes[0]
        classes = tuple(one.class_index for one in image.records)
        return [
            Case(name, pixels, truth, classes, self._maps(image, changes), predicted)
            for name, changes in self._variants.items()
        ]

    def _maps(self, image: ImageMaps, changes: Mapping[str, Any]) -> Tensor:
        """Maps (K, H, W) of a variant; as they are stored if nothing is changed."""
        if not changes:
            return torch.stack([torch.from_numpy(one.map) for one in image.records])
        run = self._job.run
        config = replace(run, keep_patches=False, **changes)
        size = image.height, image.width
        return torch.stack([fuse_patches(one.patches, size, config) for one in image.records])

    def _judged(self, cases: Sequence[tuple[Case, str]]) -> list[Row]:
        """A row for each map, and for each image that a judge takes as a whole."""
        found = [_Rows(case, image_id, self._job.class_names) for case, image_id in cases]
        for judge in self.judges:
            judged = _all_judged(judge, [case for case, _ in cases])
            for rows, one in zip(found, judged, strict=True):
                rows.add(judge, one)
        return [row for rows in found for row in rows.all()]


class _Rows:
    """The rows of one image and variant.

    Args:
        case: What was judged.
        image_id: The image.
        names: Name of each class index.
    """

    def __init__(self, case: Case, image_id: str, names: Sequence[str]) -> None:
        start: Row = {"image_id": image_id, "variant": case.variant, "status": OK}
        self._truth = case.truth
        self._maps: list[Row] = [
            start | {"class_index": index, "class_name": names[index]} for index in case.classes
        ]
        self._whole = dict(start)
        self._is_judged_whole = False

    def add(self, judge: Judge, judged: Judged | Exception) -> None:
        """Take what a judge said: of each map, or of the image as a whole."""
        if isinstance(judged, Exception):
            for row in self._maps:
                row |= {"status": FAILED, "error": f"{judge.name}: {one_line(judged)}"}
            return
        rows = [self._whole] if judge.is_of_images else self._maps
        for row, one in zip(rows, judged, strict=True):
            if one is not None:
                row |= one.values
                row[STATISTICS + judge.name] = one.statistics.flatten().tolist()
                self._is_judged_whole |= judge.is_of_images

    def all(self) -> list[Row]:
        """The rows; the first one tells what makes no sense in the annotations."""
        rows = [*self._maps, self._whole] if self._is_judged_whole else self._maps
        if self._truth is not None and self._truth.faults:
            rows[0]["note"] = "; ".join(self._truth.faults)
        return rows


def failed_unit(job: EvaluationJob, unit: Unit, reason: Exception) -> pa.Table:
    """The rows of a unit whose worker died each time."""
    rows = []
    for part in unit:
        content = (job.out / MAPS_FOLDER).read(part.file)
        ids = pq.read_table(io.BytesIO(content), columns=["image_id"])["image_id"]
        rows += [_failed(ids[row].as_py(), reason) for row in part.rows]
    return pa.Table.from_pylist(rows, _schema(judges_of(job.config, len(job.class_names))))


def _schema(judges: Sequence[Judge]) -> pa.Schema:
    values = [name for judge in judges for name in judge.values]
    return schema_of(values, [judge.name for judge in judges])


def batch_size_of(run: RunConfig, device: str) -> int:
    """Images of a forward."""
    return run.batch_size or (128 if device.startswith("cuda") else 4)


def _all_judged(judge: Judge, cases: Sequence[Case]) -> Sequence[Judged | Exception]:
    """What a judge says of images; where it raises, of one after the other."""
    try:
        return judge(cases)
    except Exception:
        return [_alone(judge, case) for case in cases]


def _alone(judge: Judge, case: Case) -> Judged | Exception:
    try:
        return judge([case])[0]
    except Exception as error:
        return error


def _failed(image_id: str, reason: Exception) -> Row:
    return {"image_id": image_id, "variant": PLAIN, "status": FAILED, "error": one_line(reason)}

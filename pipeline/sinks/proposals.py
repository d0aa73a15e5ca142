"""Precomputed proposals: all boxes of an image, whatever their class, best first.

``proposals.pkl`` is as Detectron2 loads it (``load_proposals_into_dataset``): ids, float32 ``xyxy``
boxes and logits of their scores. ``proposals_pcl.pkl`` is as programs on Detectron's older format
load it, pcl.pytorch among them: there the right and lower pixels belong to a box.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.exports.job import ExportJob, Format
from pipeline.exports.labelled import LabelledImage
from pipeline.sinks.pickles import dump

DETECTRON2, PCL = "proposals.pkl", "proposals_pcl.pkl"
XYXY_ABS = 0
"""Detectron2's number for boxes by their corners in pixels."""

_LEAST = 1e-6  # the logit of 0 is infinite


def write_proposals(images: Iterator[LabelledImage], job: ExportJob) -> None:
    """Write both pickles; an image without boxes has arrays of no rows.

    Args:
        images: Images with boxes.
        job: The export.
    """
    ids: list[Any] = []
    numbers: list[int] = []
    boxes: list[NDArray[np.float32]] = []
    scores: list[NDArray[np.float32]] = []
    for one in images:
        ids.append(one.coco_id if job.coco_ids.file else one.name)
        numbers.append(one.coco_id)
        boxes.append(np.array([box.xyxy for box in one.boxes], np.float32).reshape(-1, 4))
        scores.append(np.array([box.score for box in one.boxes], np.float32))
    logits = [_logits(one) for one in scores]
    with job.dest.writing(DETECTRON2) as file:
        found = {"ids": ids, "boxes": boxes, "objectness_logits": logits, "bbox_mode": XYXY_ABS}
        dump(found, file)
    with job.dest.writing(PCL) as file:
        inside = [one - np.array([0, 0, 1, 1], np.float32) for one in boxes]
        dump({"indexes": numbers, "boxes": inside, "scores": scores}, file)


def _logits(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    clipped = scores.astype(np.float64).clip(_LEAST, 1 - _LEAST)
    logits: NDArray[np.float32] = np.log(clipped / (1 - clipped)).astype(np.float32)
    return logits


PROPOSALS = Format(
    write_proposals,
    'cfg.MODEL.LOAD_PROPOSALS = True; cfg.DATASETS.PROPOSAL_FILES_TRAIN = ("{to}/proposals.pkl",)',
    may=("none",),
    coco_ids=lambda config: True,
    by_stem=True,
)
"""Proposals of Detectron2 and pcl."""

"""FiftyOne: a dataset with the maps as heatmaps, and boxes as detections.

Boxes are left, top, width, height as shares of the image (https://docs.voxel51.com/user_guide).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from pipeline.exports.job import ExportJob, Format
from pipeline.exports.labelled import Box, LabelledImage
from sess_kernels.errors import SessError, one_line

BOXES, CLASSES, MASK, MAP = "boxes", "classes", "mask", "map_"
_SAMPLES = 64  # that are added at once


def write_fiftyone(images: Iterator[LabelledImage], job: ExportJob) -> None:
    """Make a dataset that stays: ``map_CLASS`` heatmaps, ``boxes``, ``classes``, ``mask`` if asked.

    Args:
        images: Images with boxes.
        job: The export; its photographs stay where they are.
    """
    fo = _fiftyone()
    dataset = fo.Dataset(job.to, persistent=True, overwrite=job.overwrite)
    dataset.default_classes = list(job.classes.names)
    if job.wanted.mask:
        dataset.default_mask_targets = dict(enumerate(job.classes.names, 1))
    dataset.info = {"run": job.out.uri, "config": job.record["config"]}
    dataset.save()
    samples = (_sample(fo, one, job) for one in images)
    while some := list(islice(samples, _SAMPLES)):
        dataset.add_samples(some, progress=False)


def check(job: ExportJob) -> None:
    """FiftyOne runs, and has no other dataset of that name.

    Raises:
        SessError: If not.
    """
    fo = _fiftyone()
    try:
        taken = fo.dataset_exists(job.to)
    except Exception as error:  # its database did not start
        raise SessError(f"FiftyOne cannot be used: {one_line(error)}") from error
    if taken and not job.overwrite:
        raise SessError(
            f"FiftyOne has a dataset {job.to}; give another --dest, or --overwrite to replace it"
        )


def _fiftyone() -> Any:
    try:
        import fiftyone
    except ImportError as error:
        raise SessError(
            'FiftyOne is not installed; pip install "sess-pipeline[fiftyone]"'
        ) from error
    except Exception as error:  # it starts a database
        raise SessError(f"FiftyOne cannot be used: {one_line(error)}") from error
    return fiftyone


def _sample(fo: Any, one: LabelledImage, job: ExportJob) -> Any:
    names, numbers = job.classes.names, job.classes.numbers
    sample = fo.Sample(filepath=one.image.uri, image_id=one.image.image_id)
    labels = []
    for record in one.image.records:
        name = names[numbers[record.class_index]]
        labels.append(fo.Classification(label=name, confidence=record.score))
        values = (record.map * 255).round().astype(np.uint8)
        sample[MAP + re.sub(r"\W+", "_", name)] = fo.Heatmap(map=values, range=[0, 255])
    sample[CLASSES] = fo.Classifications(classifications=labels)
    boxes = [_detection(fo, box, one, names) for box in one.boxes]
    sample[BOXES] = fo.Detections(detections=boxes)
    if one.mask is not None:
        sample[MASK] = fo.Segmentation(mask=one.mask)
    return sample


def _detection(fo: Any, box: Box, one: LabelledImage, names: tuple[str, ...]) -> Any:
    height, width = one.image.height, one.image.width
    shares = [box.left / width, box.top / height, box.width / width, box.height / height]
    return fo.Detection(label=names[box.number], bounding_box=shares, confidence=box.score)


FIFTYONE = Format(
    write_fiftyone,
    'fiftyone.launch_app(fiftyone.load_dataset("{to}"))',
    mask="asked",
    may=("none",),
    is_folder=False,
    check=check,
)
"""Dataset of FiftyOne."""

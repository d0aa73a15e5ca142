"""COCO: a dataset of pseudo-boxes and, beside it, the same boxes as detection results.

Boxes are ``[x, y, width, height]`` in pixels from the upper left corner of the image (Lin et al.,
ECCV 2014; https://cocodataset.org/#format-data). With masks, the segmentation of a box is the part
of its class's pseudo-mask inside it, or the box itself where that is empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.exports import run_lengths
from pipeline.exports.image_names import with_extension
from pipeline.exports.job import ExportJob, Format
from pipeline.exports.json_list import JsonList
from pipeline.exports.labelled import Box, LabelledImage

INSTANCES, RESULTS, IMAGES = "instances.json", "results.json", "images"
_DECIMALS = 6


def write_coco(images: Iterator[LabelledImage], job: ExportJob) -> None:
    """Write ``instances.json`` and ``results.json``, and ``images/`` if asked for.

    Args:
        images: Images with boxes.
        job: The export.
    """
    ids = job.coco_ids.of_classes(job.classes.names)
    about = json.dumps({"info": _info(job), "licenses": [], "categories": _categories(job, ids)})
    listed, number = [], 0
    with job.dest.writing(INSTANCES) as dataset, job.dest.writing(RESULTS) as detected:
        annotations = JsonList(dataset, about[:-1].encode() + b', "annotations": ')
        results = JsonList(detected)
        for one in images:
            listed.append(_image(one, job))
            for box in one.boxes:
                number += 1
                found = _result(one, box, ids)
                results.add(found)
                annotations.add({"id": number, "iscrowd": 0, **found, **_extent(one, box)})
        results.end()
        annotations.end(b', "images": ' + json.dumps(listed).encode() + b"}")


def check(job: ExportJob) -> None:
    """Masks need ``pycocotools``, and photographs need names of their own.

    Raises:
        SessError: If that is missing.
    """
    if job.wanted.images != "none":
        job.names.check(job.images)
    if job.wanted.mask:
        run_lengths.check_installed()


def _info(job: ExportJob) -> dict[str, Any]:
    run = job.record["resolved"] | {"method": job.record["config"]["method"]}
    return {
        "description": f"pseudo-boxes of {run['method']} with SESS and {run['backbone']}",
        "date_created": job.record["started"],
        "contributor": "sess",
    }


def _categories(job: ExportJob, ids: list[int]) -> list[dict[str, Any]]:
    return [
        {"id": number, "name": name, "supercategory": ""}
        for number, name in zip(ids, job.classes.names, strict=True)
    ]


def _image(one: LabelledImage, job: ExportJob) -> dict[str, Any]:
    name = with_extension(one.image.image_id, one.image.uri)
    if job.wanted.images != "none":
        name = job.photograph_name(one)
        job.place_photograph(one, f"{IMAGES}/{name}")
    size = {"height": one.image.height, "width": one.image.width}
    return {"id": one.coco_id, "file_name": name, **size}


def _result(one: LabelledImage, box: Box, ids: list[int]) -> dict[str, Any]:
    return {
        "image_id": one.coco_id,
        "category_id": ids[box.number],
        "bbox": [box.left, box.top, box.width, box.height],
        "score": round(box.score, _DECIMALS),
    }


def _extent(one: LabelledImage, box: Box) -> dict[str, Any]:
    """Area and, with masks, segmentation of a box."""
    if one.mask is None:
        return {"area": box.width * box.height}
    inside = np.zeros(one.mask.shape, bool)
    part = np.s_[int(box.top) : int(np.ceil(box.bottom)), int(box.left) : int(np.ceil(box.right))]
    inside[part] = one.mask[part] == box.number + 1
    if inside.any():
        return {"area": int(inside.sum()), "segmentation": run_lengths.encode(inside)}
    left, top, right, bottom = box.xyxy
    outline = [left, top, right, top, right, bottom, left, bottom]
    return {"area": box.width * box.height, "segmentation": [outline]}


COCO = Format(
    write_coco,
    'pycocotools.coco.COCO("{to}/instances.json"), or TRUTH.loadRes("{to}/results.json")',
    mask="asked",
    coco_ids=lambda config: True,
    check=check,
)
"""COCO dataset and results."""

"""YOLO: a text file for each image, a line ``class cx cy width height`` for each box.

Centre and size are shares of the image, classes are counted from 0, an image without boxes has an
empty file, and images lie in ``images/`` as their labels do in ``labels/``
(https://docs.ultralytics.com/datasets/detect).
"""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from pipeline.exports.job import ExportJob, Format
from pipeline.exports.labelled import LabelledImage

DATA_FILE, PART = "data.yaml", "train"


def write_yolo(images: Iterator[LabelledImage], job: ExportJob) -> None:
    """Write ``labels/train/ID.txt``, ``data.yaml``, and ``images/train/`` if asked for.

    Args:
        images: Images with boxes.
        job: The export.
    """
    for one in images:
        job.dest.write(f"labels/{PART}/{one.name}.txt", label(one), sync=False)
        job.place_photograph(one, f"images/{PART}/{job.photograph_name(one)}")
    job.dest.write(DATA_FILE, _data(job))


def label(one: LabelledImage) -> bytes:
    """The lines of an image.

    Args:
        one: Image with boxes.
    """
    height, width = one.image.height, one.image.width
    lines = []
    for box in one.boxes:
        centre = (box.left + box.right) / 2 / width, (box.top + box.bottom) / 2 / height
        values = *centre, box.width / width, box.height / height
        lines.append(" ".join([str(box.number), *(f"{value:.6f}" for value in values)]))
    return "".join(f"{line}\n" for line in lines).encode()


def _data(job: ExportJob) -> bytes:
    dest = job.dest
    # a relative path would be taken for one below a folder of the trainer's settings
    where = {"path": dest.path} if dest.is_local else {}
    images = f"images/{PART}"
    names = dict(enumerate(job.classes.names))
    data = {**where, "train": images, "val": images, "names": names}
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode()


YOLO = Format(
    write_yolo,
    "yolo detect train data={to}/data.yaml, with the photographs in {to}/images/train "
    "(--images link) and a val of your own",
    by_stem=True,
)
"""YOLO labels."""

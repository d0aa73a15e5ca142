"""A dataset folder of Hugging Face: Parquet files with images in them, and a dataset card.

A row is a class in an image. What the columns are is written into the files as ``datasets`` does,
so that it decodes them with nothing else said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipeline.exports.job import ExportJob, Format
from pipeline.exports.labelled import LabelledImage
from pipeline.members import member_of
from pipeline.sinks.encode import encode_map
from pipeline.sinks.masks import palette_png

CARD = "README.md"
_IMAGES = 1000  # of a file
_ROWS = 100  # of a row group, which readers hold as a whole

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_FLOATS = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"}
_COLUMNS = {
    "image_id": "id of the image",
    "image": "the photograph",
    "saliency": "map of the class at the size of the photograph, 8 bits",
    "label": "the class",
    "score": "its score in the image",
    "bboxes": "pseudo-boxes of the class: left, top, right, bottom in pixels, the last two outside",
    "box_scores": "their scores",
    "mask": "pseudo-mask of all classes: 0 background, class + 1, 255 to be ignored",
}


def write_huggingface(images: Iterator[LabelledImage], job: ExportJob) -> None:
    """Write ``data/*.parquet`` and ``README.md``.

    Args:
        images: Images with boxes.
        job: The export.
    """
    n_files = -(-len(job.images) // _IMAGES)
    schema = _schema(job)
    for number, part in groupby(images, lambda one: one.place // _IMAGES):
        name = f"data/train-{number:05d}-of-{n_files:05d}.parquet"
        with job.dest.writing(name) as file, pq.ParquetWriter(file, schema) as writer:
            rows: list[dict[str, Any]] = []
            for one in part:
                rows += _rows(one, job)
                if len(rows) >= _ROWS:
                    writer.write_table(pa.Table.from_pylist(rows, schema))
                    rows = []
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema))
    job.dest.write(CARD, _card(job).encode())


def _rows(one: LabelledImage, job: ExportJob) -> Iterator[dict[str, Any]]:
    mask = None if one.mask is None else _image(palette_png(one.mask))
    photograph = _photograph(one)
    for record in one.image.records:
        number = job.classes.numbers[record.class_index]
        boxes = [box for box in one.boxes if box.number == number]
        yield {
            "image_id": one.image.image_id,
            "image": photograph,
            "saliency": _image(encode_map(record.map, "uint8")),
            "label": number,
            "score": record.score,
            "bboxes": [box.xyxy for box in boxes],
            "box_scores": [box.score for box in boxes],
            "mask": mask,
        }


def _image(content: bytes | None, path: str | None = None) -> dict[str, Any]:
    return {"bytes": content, "path": path}


def _photograph(one: LabelledImage) -> dict[str, Any] | None:
    if one.photograph is not None:
        return _image(one.photograph, PurePosixPath(one.image.image_id).name)
    return None if member_of(one.image.uri) else _image(None, one.image.uri)


def _schema(job: ExportJob) -> pa.Schema:
    """The columns and, as metadata, what ``datasets`` should take them for."""
    columns = {
        "image_id": (pa.string(), {"dtype": "string", "_type": "Value"}),
        "image": (_IMAGE, {"_type": "Image"}),
        "saliency": (_IMAGE, {"_type": "Image"}),
        "label": (pa.int64(), {"names": list(job.classes.names), "_type": "ClassLabel"}),
        "score": (pa.float32(), {"dtype": "float32", "_type": "Value"}),
        "bboxes": (pa.list_(pa.list_(pa.float32())), {"feature": _FLOATS, "_type": "Sequence"}),
        "box_scores": (pa.list_(pa.float32()), _FLOATS),
    }
    if job.wanted.mask:
        columns["mask"] = (_IMAGE, {"_type": "Image"})
    features = {name: feature for name, (_, feature) in columns.items()}
    told = json.dumps({"info": {"features": features}})
    return pa.schema([(name, kind) for name, (kind, _) in columns.items()], {"huggingface": told})


def _card(job: ExportJob) -> str:
    head = {
        "pretty_name": "Pseudo-labels by SESS",
        "task_categories": ["object-detection", "image-segmentation"],
        "tags": ["saliency", "weak-supervision", "pseudo-labels", "sess"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": "data/train-*.parquet"}],
            }
        ],
    }
    columns = "\n".join(
        f"| `{name}` | {about} |"
        for name, about in _COLUMNS.items()
        if name != "mask" or job.wanted.mask
    )
    export = {name: value for name, value in asdict(job.config).items() if name != "threads"}
    run = {name: job.record[name] for name in ("config", "resolved", "versions")}
    return _CARD.format(
        head=yaml.safe_dump(head, sort_keys=False),
        columns=columns,
        method=job.record["config"]["method"],
        backbone=job.record["resolved"]["backbone"],
        run=json.dumps(run, indent=1),
        export=json.dumps(export, indent=1),
    )


_CARD = """---
{head}# license: that of the photographs; name it before you publish them
---

# Pseudo-labels by SESS

Class saliency maps of SESS (Tursun et al., ECCV 2022) around {method} and {backbone}, and what
they mark. Nobody has drawn these labels. A row is a class in an image.

| column | content |
|---|---|
{columns}

```python
from datasets import load_dataset

rows = load_dataset("FOLDER", split="train")
```

## Configuration of the run

```json
{run}
```

## Configuration of the export

```json
{export}
```
"""

HUGGINGFACE = Format(
    write_huggingface,
    'datasets.load_dataset("{to}", split="train")',
    mask="asked",
    images="copy",
    may=("none", "copy"),
)
"""Dataset folder of Hugging Face."""

"""Fixtures: folders of runs whose maps mark known rectangles of drawn photographs."""

import json
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from pipeline.commit import commit
from pipeline.export import export
from pipeline.exports.config import ExportConfig
from pipeline.files import Folder
from pipeline.read import read_maps
from pipeline.records import FAILED, OK, RESULT_SCHEMA
from pipeline.sinks import encode_map
from sess_kernels.pseudo import BoxConfig, pseudo_boxes

GROUPS = {"bird": [7], "cat": [281, 282], "dog": [151]}


@dataclass
class Drawn:
    """An image and what its maps mark: class index -> (left, top, right, bottom), edges outside."""

    image_id: str
    marks: dict
    size: tuple = (60, 80)
    scores: dict = field(default_factory=dict)
    error: str | None = None


@pytest.fixture
def make_out(tmp_path, draw):
    """Writes a run over drawn photographs; ``record`` changes its run.json."""

    def make(*images, folder="out", planned=None, groups=GROUPS, names=None, **record):
        out, rows = Folder.of(tmp_path / folder), []
        names = names or list(groups)
        for number, one in enumerate(images):
            path = tmp_path / "photos" / one.image_id.removeprefix("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            kind = None if path.suffix else "jpeg"
            Image.fromarray(draw(*one.size, seed=number)).save(path, kind)
            rows.append(_row(number, one, str(path), names))
        commit(out, "part", pa.Table.from_pylist(rows, RESULT_SCHEMA))
        out.write("run.json", json.dumps(_record(len(rows), planned, groups) | record).encode())
        return str(tmp_path / folder)

    return make


@pytest.fixture
def out(make_out):
    """Two images with marks, one without any, one that failed; the classes are those of GROUPS."""
    return make_out(
        Drawn("a/1.jpg", {1: [(10, 20, 40, 50)]}, scores={1: 0.9}),
        Drawn("2.jpg", {2: [(0, 0, 30, 60)], 0: [(50, 10, 80, 30), (50, 40, 60, 60)]}),
        Drawn("none.jpg", {1: []}),
        Drawn("cut.jpg", {}, error="image file is truncated"),
    )


@pytest.fixture
def exported(tmp_path):
    """Exports a run; returns the folder and the summary."""

    def call(out, to, folder="labels", overwrite=False, **settings):
        dest = tmp_path / folder
        config = ExportConfig(**{"thresholds": (0.5,), "min_area": 0.0, **settings})
        return dest, export(out, to, dest, config, overwrite=overwrite)

    return call


@pytest.fixture
def map_scores():
    """The score that the kernel gives each marked rectangle, by image, class and left upper corner.

    As one rectangle is marked alone or beside others of its class, so is it here.
    """

    def call(out):
        found = {}
        config = BoxConfig(thresholds=(0.5,), min_area=0.0)
        for one in read_maps(out):
            for box, score in zip(*pseudo_boxes(torch.from_numpy(one.map), config), strict=True):
                left, top = box[:2].int().tolist()
                found[one.image_id, one.class_name, left, top] = score.item()
        return found

    return call


@pytest.fixture
def drawn():
    return Drawn


def _row(number, one, uri, names):
    height, width = one.size
    row = {"row": number, "image_id": one.image_id, "uri": uri, "height": height, "width": width}
    row |= {"status": FAILED if one.error else OK, "error": one.error, "n_patches": 1}
    targets = [] if one.error else [_target(one, index, names) for index in one.marks]
    return row | {"targets": targets}


def _target(one, index, names):
    values = np.zeros(one.size, np.float32)
    for left, top, right, bottom in one.marks[index]:
        values[top:bottom, left:right] = 1
    return {
        "class_index": index,
        "class_name": names[index],
        "score": one.scores.get(index, 0.5),
        "n_kept": 1,
        "map": {"bytes": encode_map(values, "uint8"), "path": None},
        "map_dtype": "uint8",
        "map_shape": list(one.size),
        "patches": None,
    }


def _record(n_images, planned, groups):
    return {
        "state": "complete",
        "source": "table:list.csv",
        "config": {"method": "gradcam"},
        "resolved": {"backbone": "lite0", "class_groups": groups},
        "versions": {},
        "started": "2026-01-01T00:00:00+00:00",
        "dataset": {"n_images": planned or n_images},
    }

"""Fixtures: annotations of drawn images in the formats of VOC and COCO."""

import json

import numpy as np
import pytest
from PIL import Image

OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmax>{}</xmax><xmin>{}</xmin>"
    "<ymin>{}</ymin><ymax>{}</ymax></bndbox><part><name>head</name><bndbox><xmin>1</xmin>"
    "<ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>\n"
)
SIZE = "<size><width>30</width><height>20</height><depth>3</depth></size>\n"


@pytest.fixture
def annotate():
    """Writes an annotation of VOC: objects are (name, difficult, xmax, xmin, ymin, ymax)."""

    def write(path, *objects, size=SIZE):
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(OBJECT.format(*one) for one in objects)
        path.write_text(f"<annotation>\n{size}{text}</annotation>\n")

    return write


@pytest.fixture
def picture():
    """Writes a mask as PNG, of palette values unless another mode is given."""

    def write(path, values, mode="P"):
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(np.asarray(values, np.uint8))
        (image if mode == "L" else image.convert(mode)).save(path)

    return write


@pytest.fixture
def coco(tmp_path):
    """Writes a COCO file of two images of 30x20 pixels, cats and dogs and a zebra."""

    def write(annotations, **sections):
        for number, one in enumerate(annotations):
            if isinstance(one, dict):
                one.setdefault("id", number)
        path = tmp_path / "instances.json"
        images = [{"id": 7, "file_name": "a.jpg"}, {"id": 9, "file_name": "val/b.jpg"}]
        names = {3: "cat", 5: "dog", 8: "zebra"}
        content = {
            "images": [one | {"width": 30, "height": 20} for one in images],
            "categories": [{"id": number, "name": name} for number, name in names.items()],
            "annotations": annotations,
        }
        path.write_text(json.dumps(content | sections))
        return path

    return write

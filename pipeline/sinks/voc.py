"""PASCAL VOC: an XML file for each image, and the list of the images.

Pixels are counted from 1 and the right and lower edges belong to a box (Everingham and Winn, The
PASCAL Visual Object Classes Challenge 2012 Development Kit, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from xml.etree import ElementTree

from pipeline.exports.job import ExportJob, Format
from pipeline.exports.labelled import Box, LabelledImage

ANNOTATIONS, PHOTOGRAPHS, IMAGE_SET = "Annotations", "JPEGImages", "ImageSets/Main/train.txt"
EXTENSION = ".jpg"
"""What readers add to the name of an image, whatever its format is; they look at its bytes."""


def write_voc(images: Iterator[LabelledImage], job: ExportJob) -> None:
    """Write ``Annotations/ID.xml``, ``ImageSets/Main/train.txt``, and ``JPEGImages/`` if asked for.

    Args:
        images: Images with boxes.
        job: The export.
    """
    with job.dest.writing(IMAGE_SET) as listed:
        for one in images:
            content = annotation(one, job.classes.names)
            job.dest.write(f"{ANNOTATIONS}/{one.name}.xml", content, sync=False)
            job.place_photograph(one, f"{PHOTOGRAPHS}/{one.name}{EXTENSION}")
            listed.write(f"{one.name}\n".encode())


def annotation(one: LabelledImage, names: tuple[str, ...]) -> bytes:
    """The XML of an image.

    Args:
        one: Image with boxes.
        names: Name of every class.
    """
    root = ElementTree.Element("annotation")
    _add(root, "folder", PHOTOGRAPHS)
    _add(root, "filename", one.name + EXTENSION)
    _add(ElementTree.SubElement(root, "source"), "database", "pseudo-boxes of sess")
    size = ElementTree.SubElement(root, "size")
    _add(size, "width", one.image.width)
    _add(size, "height", one.image.height)
    _add(size, "depth", 3)
    _add(root, "segmented", 0)
    for box in one.boxes:
        _add_object(root, box, names[box.number])
    ElementTree.indent(root, "\t")
    text: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=False)
    return text + b"\n"


def _add_object(root: ElementTree.Element, box: Box, name: str) -> None:
    found = ElementTree.SubElement(root, "object")
    _add(found, "name", name)
    _add(found, "pose", "Unspecified")
    _add(found, "truncated", 0)
    _add(found, "difficult", 0)
    _add(found, "score", f"{box.score:.6f}")
    edges = ElementTree.SubElement(found, "bndbox")
    _add(edges, "xmin", math.floor(box.left) + 1)
    _add(edges, "ymin", math.floor(box.top) + 1)
    _add(edges, "xmax", math.ceil(box.right))  # the last pixel inside, counted from 1
    _add(edges, "ymax", math.ceil(box.bottom))


def _add(parent: ElementTree.Element, tag: str, value: str | int) -> None:
    ElementTree.SubElement(parent, tag).text = str(value)


VOC = Format(
    write_voc,
    'torchvision.datasets.VOCDetection("ROOT", image_set="train") with {to} (and its photographs: '
    "--images link) as ROOT/VOCdevkit/VOC2012",
    by_stem=True,
)
"""PASCAL VOC annotations."""

"""ImageNet's localisation task: an XML file for each image, or Kaggle's table of boxes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from pipeline.sources.listed import Listed
from pipeline.sources.options import with_options
from pipeline.sources.reading import entries, is_folder, open_folder, read_text
from pipeline.truth.annotations import AnnotatedTruth
from pipeline.truth.base import Truth
from pipeline.truth.classes import ClassNumbers
from pipeline.truth.listed import ListedBox, ListedTruth
from pipeline.truth.names import stem
from sess_kernels.errors import SessError

KAGGLE_FILE = "LOC_val_solution.csv"
"""Boxes of the validation images, as Kaggle packs them."""

_PLACES = ("Annotations/CLS-LOC/", "ILSVRC/Annotations/CLS-LOC/", "")
_ORIGIN = 0  # the first pixel of an image: corners of 0 and of 499 in 500 pixels are there
_OF_TRAIN = re.compile(r"(n\d{8})_\d+")
_FIELDS = 5  # of a box
_HEADER = "ImageId"


class _ImageNetTruth(AnnotatedTruth):
    """Annotations of training images lie in folders of their synsets."""

    def file(self, image_id: str) -> str:
        of_train = _OF_TRAIN.fullmatch(stem(image_id))
        return f"{of_train[1]}/{super().file(image_id)}" if of_train else super().file(image_id)


def open_imagenet(path: str, number: ClassNumbers) -> Truth:
    """Annotations of ImageNet's images, by the stems of their ids.

    ``path`` is a folder with ``Annotations/CLS-LOC/val``, alone or below ``ILSVRC`` as Kaggle packs
    it, or with ``LOC_val_solution.csv``; or that file. Classes are WordNet ids. Corners count from
    0 and include the last pixel, so that boxes are (xmin, ymin, xmax + 1, ymax + 1).

    Options:
        split: ``val`` if not given, or ``train``.

    Raises:
        SessError: If none of these is there, or the table cannot be read.
    """
    name = f"imagenet:{path}"
    path, options = with_options("imagenet", path, ["split"])
    if path.lower().endswith(".csv"):
        return _listed(name, path, number)
    folder, split = open_folder("imagenet", path), options.get("split", "val")
    for place in _PLACES:
        if is_folder(found := folder / f"{place}{split}"):
            return _ImageNetTruth(name, found, number, _ORIGIN)
    if any(one.endswith(".xml") for one in entries(folder).files):
        return _ImageNetTruth(name, folder, number, _ORIGIN)
    if folder.exists(KAGGLE_FILE):
        return _listed(name, f"{folder.uri}/{KAGGLE_FILE}", number)
    tried = ", ".join([f"{place}{split}" for place in _PLACES] + [KAGGLE_FILE])
    raise SessError(f"{name} has none of {tried}; give the folder or the file")


def _listed(name: str, file: str, number: ClassNumbers) -> Truth:
    listed = Listed()
    return ListedTruth(name, file, _boxes(file, listed), number, listed)


def _boxes(file: str, listed: Listed) -> Iterator[ListedBox]:
    """Of lines such as ``ILSVRC2012_val_00048981,n03995372 85 1 499 272 n03995372 ...``."""
    for line, text in enumerate(read_text(file).splitlines(), 1):
        image, comma, said = text.partition(",")
        fields = said.split()
        if not text.strip() or image == _HEADER:
            continue
        if not comma or not fields or len(fields) % _FIELDS:
            listed.fault(f"{file}: line {line} is not IMAGE,SYNSET x y x y ...; it is left out")
            continue
        for at in range(0, len(fields), _FIELDS):
            left, top, right, bottom = map(_number, fields[at + 1 : at + _FIELDS])
            yield ListedBox(line, image, fields[at], (left, top, right + 1, bottom + 1))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan

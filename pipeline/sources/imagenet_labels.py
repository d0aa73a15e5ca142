"""Label files of ImageNet's validation images, in the forms that are about."""

from __future__ import annotations

import io
import posixpath
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from pipeline.sources.listed import Listed
from pipeline.sources.reading import read_text
from pipeline.stores import read_bytes
from sess_kernels.errors import SessError, one_line

N_CLASSES = 1000

_SEPARATORS = re.compile(r"[\s,]+")
_NUMBERED = re.compile(r"ILSVRC2012_val_(\d{8})\.\w+")
_META = "meta.mat"
_HEADERS = ("ImageId", "image")  # of Kaggle's file; of a table as --labels takes it


class _Line(NamedTuple):
    place: str  # for messages
    fields: list[str]


@lru_cache(maxsize=1)
def synset_indices() -> dict[str, int]:
    """Class index of each of ImageNet-1k's synsets.

    Example:
        >>> synset_indices()["n01440764"], len(synset_indices())
        (0, 1000)
    """
    from timm.data.imagenet_info import ImageNetInfo  # slow to import; only this source pays

    info: Any = ImageNetInfo("imagenet-1k")
    return {name: index for index, name in enumerate(info.label_names())}


def validation_labels(
    uri: str, meta: str | None, images: list[str], listed: Listed
) -> dict[str, list[str]]:
    """Class indices as text of images, by their names.

    Args:
        uri: One of

            - a line ``NAME INDEX`` or ``NAME SYNSET`` for each image (Caffe's ``val.txt``; indices
              from 0 in the order of the synsets);
            - Kaggle's ``LOC_val_solution.csv``: ``NAME,SYNSET x y x y SYNSET ...``;
            - a line ``SYNSET`` for each image, in the order of the images' names;
            - the devkit's ground truth: a line for each image with its ILSVRC2012 id, 1 to 1,000,
              which are in another order than the synsets; ``meta`` tells it.
        meta: The devkit's ``meta.mat``; else the one beside the label file.
        images: Names of the images, sorted.
        listed: Is told lines that make no sense, and how many images are not there.

    Raises:
        SessError: If a file cannot be read or its form is another.
    """
    lines = list(_lines(uri))
    if not lines:
        raise SessError(f"{uri} is empty; it should have a line for each image")
    if len(lines[0].fields) > 1:
        return _by_name(uri, lines, images, listed)
    if lines[0].fields[0].isdecimal():
        synsets = _synsets_of_ids(uri, meta or f"{posixpath.dirname(uri)}/{_META}")
        lines = [_of_ids(line, synsets) for line in lines]
    labels = [_labels(line, line.fields, listed) for line in lines]
    return dict(zip(images, _in_order(uri, labels, images), strict=True))


def _lines(uri: str) -> Iterator[_Line]:
    for number, line in enumerate(read_text(uri).splitlines(), 1):
        fields = [one for one in _SEPARATORS.split(line) if one]
        if fields and fields[0] not in _HEADERS:
            yield _Line(f"{uri}: line {number}", fields)


def _by_name(
    uri: str, lines: list[_Line], images: list[str], listed: Listed
) -> dict[str, list[str]]:
    numbers = {line.fields[1] for line in lines if len(line.fields) == 2}
    if str(N_CLASSES) in numbers and "0" not in numbers:
        raise SessError(
            f"{uri}: its numbers are 1 to {N_CLASSES}, but indices are 0 to {N_CLASSES - 1} in the "
            "order of the synsets; give a file with those, or with synsets"
        )
    names = {posixpath.splitext(name)[0]: name for name in images}  # Kaggle's have no ending
    found: dict[str, list[str]] = {}
    absent = []
    for line in lines:
        name = posixpath.basename(line.fields[0])
        name = name if name in names else posixpath.splitext(name)[0]
        if name not in names:
            absent.append(line.fields[0])
        elif names[name] in found:
            listed.fault(f"{line.place}: {line.fields[0]} was listed before; the line is left out")
        else:
            found[names[name]] = _index(line) or _labels(line, line.fields[1:], listed)
    if absent:
        said = f"{len(absent):,} of its images are not there ({absent[0]}, ...)"
        listed.fault(f"{uri}: {said}; they are left out")
    return found


def _index(line: _Line) -> list[str]:
    """The index that stands behind an image's name, if any."""
    text = line.fields[1] if len(line.fields) == 2 else ""
    return [str(int(text))] if text.isdecimal() and int(text) < N_CLASSES else []


def _labels(line: _Line, fields: list[str], listed: Listed) -> list[str]:
    """Indices that the synsets among the fields stand for, each once."""
    indices = synset_indices()
    found = [str(indices[one]) for one in fields if one in indices]
    if not found:
        said = " ".join(line.fields[:3])
        listed.fault(f"{line.place}: {said!r} is no class of ImageNet-1k; the image has no label")
    return list(dict.fromkeys(found))


def _in_order(uri: str, labels: list[list[str]], images: list[str]) -> list[list[str]]:
    """The labels of images, by the numbers in their names or else by their order."""
    numbers = [_NUMBERED.fullmatch(name) for name in images]
    if all(numbers):  # a part of the 50,000 as well
        places = [int(one[1]) - 1 for one in numbers if one]
        return [labels[one] if 0 <= one < len(labels) else [] for one in places]
    if len(labels) != len(images):
        raise SessError(
            f"{uri} has {len(labels):,} lines for {len(images):,} images; it should have one for "
            "each, in the order of their names"
        )
    return labels


def _of_ids(line: _Line, synsets: dict[int, str]) -> _Line:
    text = line.fields[0]
    synset = synsets.get(int(text)) if text.isdecimal() else None
    return line if synset is None else line._replace(fields=[synset])


def _synsets_of_ids(uri: str, meta: str) -> dict[int, str]:
    """Synset of each ILSVRC2012 id."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise SessError(f"{meta} is read with SciPy: pip install scipy") from error
    try:
        synsets = loadmat(io.BytesIO(read_bytes(meta)), squeeze_me=True)["synsets"]
        pairs = zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)
        return {int(number): str(synset) for number, synset in pairs}
    except FileNotFoundError:
        raise SessError(
            f"{uri} holds ILSVRC2012 ids, whose order is not that of the classes, and {meta} "
            "does not exist; give the devkit's meta.mat with ?meta=FILE, or a file with synsets"
        ) from None
    except Exception as error:  # whatever the library says of a file that is no such
        raise SessError(f"{meta} cannot be read: {one_line(error)}") from error

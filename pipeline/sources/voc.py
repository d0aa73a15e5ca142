"""PASCAL VOC: photographs with XML annotations and lists of splits."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa

from pipeline.files import Folder
from pipeline.sources.folder import is_image
from pipeline.sources.listed import Listed
from pipeline.sources.options import with_options
from pipeline.sources.reading import (
    AHEAD,
    entries,
    is_folder,
    open_folder,
    read_text,
)
from pipeline.sources.rows import Row, tables_of
from pipeline.sources.voc_xml import Annotation, read_annotation
from pipeline.streams import ahead
from sess_kernels.errors import SessError, one_line, unknown

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
"""The classes of PASCAL VOC in the order of its ids, from 0."""

_OPTIONS = ("split", "year", "difficult")
_YEAR = re.compile(r"VOC(\d{4})")
_FLAGS = {"-1": False, "0": False, "1": True}  # 0: the class's objects are all difficult


class _Listed(NamedTuple):
    """An image by its VOC id, and the line of the split that lists it."""

    voc_id: str
    line: str = ""


def read_voc(path: str, listed: Listed) -> Iterator[pa.Table]:
    """Images of a folder such as VOC2012, or of a VOCdevkit with one of them.

    The image id is the file's name in ``JPEGImages``; the labels are the distinct names of the
    objects of its annotation, in order. Labels are null where there are no annotations, as for
    the images of a test.

    Options:
        split: Name of a list in ``ImageSets/Main``, a path in ``ImageSets`` (``Segmentation/val``)
            or a file of its own (``lists/train_aug.txt``). Of a class's list (``cat_train``) the
            images with the class are taken. All images without it.
        year: Which of several folders of a VOCdevkit.
        difficult: ``0`` takes no label from objects marked difficult, as VOC's classification
            counts them neither way. Lists of labels for segmentation have them: they are there.

    Raises:
        SessError: If there is no such folder, split or year.
    """
    path, options = with_options("voc", path, _OPTIONS)
    difficult = _is_on(options.get("difficult", "1"))
    root = voc_root(path, options.get("year"))
    files = _by_id(root, listed)
    annotated = _annotated(root)
    if "split" in options:
        wanted = _once(_split(root, options["split"], difficult), listed)
    else:
        wanted = [_Listed(one) for one in sorted(files.keys() | annotated)]
    is_labelled = any(one.voc_id in annotated for one in wanted)

    def row(one: _Listed) -> tuple[str, Annotation | None]:
        name = files.get(one.voc_id, f"{one.voc_id}.jpg")  # missing: the plan tells it
        return name, _annotation(root, one, annotated, difficult) if is_labelled else None

    yield from tables_of(_rows(root, ahead(row, wanted, AHEAD), listed))


def _rows(
    root: Folder, found: Iterable[tuple[str, Annotation | None]], listed: Listed
) -> Iterator[Row]:
    names: set[str] = set()
    for name, annotation in found:
        uri = f"{root.uri}/JPEGImages/{name}"
        if annotation is None:
            yield Row(name, uri)
            continue
        for fault in annotation.faults:
            listed.fault(fault)
        if not names.issuperset(annotation.labels):
            names.update(annotation.labels)
            listed.name_classes(VOC_CLASSES if names <= set(VOC_CLASSES) else sorted(names))
        yield Row(name, uri, annotation.labels)


def _annotation(root: Folder, one: _Listed, annotated: set[str], difficult: bool) -> Annotation:
    """Labels of an image; its faults tell their files."""
    name = f"Annotations/{one.voc_id}.xml"
    if one.voc_id not in annotated:
        said = f"{one.line}: {root.uri}/{name} does not exist; the image has no label"
        return Annotation([], [said] if one.line else [])
    try:
        content = root.read(name)
    except OSError as error:
        said = f"{root.uri}/{name} cannot be read: {one_line(error)}; the image has no label"
        return Annotation([], [said])
    found = read_annotation(content, difficult=difficult)
    return found._replace(faults=[f"{root.uri}/{name}: {fault}" for fault in found.faults])


def voc_root(path: str, year: str | None) -> Folder:
    """The folder of one year."""
    folder = open_folder("voc", path)
    folders = entries(folder).folders
    if "JPEGImages" in folders:
        own = _YEAR.fullmatch(posixpath.basename(folder.uri))
        if year is not None and own is not None and own[1] != year:
            raise SessError(f"voc:{path} is of the year {own[1]}, not {year}; correct one of them")
        return folder
    if "VOCdevkit" in folders:
        folder /= "VOCdevkit"
        folders = entries(folder).folders
    years = [found[1] for found in map(_YEAR.fullmatch, folders) if found]
    if not years:
        raise SessError(
            f"voc:{path} holds neither JPEGImages nor a folder such as VOC2012; check the path"
        )
    if year is not None and year not in years:
        raise SessError(f"voc:{path}: {unknown('year', year, years)}")
    if year is None and len(years) > 1:
        raise SessError(f"voc:{path} holds {', '.join(years)}; choose with ?year={years[-1]}")
    return folder / f"VOC{year or years[0]}"


def _by_id(root: Folder, listed: Listed) -> dict[str, str]:
    """Names of the photographs by VOC id."""
    found: dict[str, str] = {}
    for name in filter(is_image, entries(root / "JPEGImages").files):
        voc_id = posixpath.splitext(name)[0]
        if found.setdefault(voc_id, name) != name:
            listed.fault(
                f"{root.uri}/JPEGImages/{name}: {found[voc_id]} has the same id; it is left out"
            )
    return found


def _annotated(root: Folder) -> set[str]:
    """VOC ids that have an annotation."""
    folder = root / "Annotations"
    names = entries(folder).files if is_folder(folder) else []
    return {name.removesuffix(".xml") for name in names if name.endswith(".xml")}


def _split(root: Folder, split: str, difficult: bool) -> Iterator[_Listed]:
    """Lines of a split: an id; an id and whether the class is there; or paths of files."""
    uri = _split_file(root, split)
    for number, line in enumerate(read_text(uri).splitlines(), 1):
        fields = line.split()
        flag = fields[1] if len(fields) > 1 else "1"
        if not fields or not (_FLAGS.get(flag, True) or (difficult and flag == "0")):
            continue
        name = posixpath.basename(fields[0])  # train_aug.txt: /JPEGImages/ID.jpg /Segment.../ID.png
        voc_id = posixpath.splitext(name)[0] if is_image(name) else name
        yield _Listed(voc_id, f"{uri}: line {number}")


def _split_file(root: Folder, split: str) -> str:
    if split.endswith(".txt"):
        return split
    place = f"ImageSets/{split}.txt" if "/" in split else f"ImageSets/Main/{split}.txt"
    folder = root / posixpath.dirname(place)
    files = entries(folder).files if is_folder(folder) else []
    if posixpath.basename(place) in files:
        return f"{root.uri}/{place}"
    if not files:
        raise SessError(f"{folder.uri} holds no split; without ?split= every image is taken")
    # the lists of classes are left unsaid: they are 60 in VOC
    known = [name.removesuffix(".txt") for name in files if "_" not in name]
    raise SessError(f"{folder.uri}: {unknown('split', posixpath.basename(split), known)}")


def _once(found: Iterable[_Listed], listed: Listed) -> list[_Listed]:
    """Each id once, where it comes first."""
    kept: dict[str, _Listed] = {}
    for one in found:
        if kept.setdefault(one.voc_id, one) is not one:
            listed.duplicates += 1
    return list(kept.values())


def _is_on(text: str) -> bool:
    if text not in ("0", "1"):
        raise SessError(f"voc: difficult must be 0 or 1 but is {text!r}")
    return text == "1"

"""ImageNet-1k: a folder for each synset, or the flat validation folder and its label file."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow as pa

from pipeline.files import Folder
from pipeline.sources.folder import is_image
from pipeline.sources.imagefolder import rows_by_folder
from pipeline.sources.imagenet_labels import synset_indices, validation_labels
from pipeline.sources.listed import Listed
from pipeline.sources.options import with_options
from pipeline.sources.reading import Entries, entries, is_folder, open_folder
from pipeline.sources.rows import Row, tables_of
from sess_kernels.backbones import imagenet_classes
from sess_kernels.errors import SessError

SYNSET = re.compile(r"n\d{8}")
"""Name of a synset of WordNet, as ImageNet's folders have."""

_OPTIONS = ("split", "labels", "meta")
_PLACES = ("", "Data/CLS-LOC/", "ILSVRC/Data/CLS-LOC/")  # as Kaggle and image-net.org pack it
_LABEL_FILES = (
    "val.txt",
    "LOC_val_solution.csv",
    "imagenet_2012_validation_synset_labels.txt",
    "ILSVRC2012_validation_ground_truth.txt",
)


def read_imagenet(path: str, listed: Listed) -> Iterator[pa.Table]:
    """Images of ImageNet-1k with their class indices.

    The image id is the path below the folder; the label is the place of the image's synset among
    the 1,000 sorted ones, as every ImageNet classifier has it.

    Options:
        split: ``train`` or ``val``, a folder in ``path`` or where Kaggle's archive has it.
        labels: Label file of a flat folder, see ``imagenet_labels.validation_labels``. Without it
            the files of the usual names are looked for in the folder and those above.
        meta: ``meta.mat`` of the devkit, which its ground truth needs; else beside that.

    Raises:
        SessError: If a folder or the label file cannot be found or read.
    """
    path, options = with_options("imagenet", path, _OPTIONS)
    above = open_folder("imagenet", path)
    folder = _split(above, options["split"]) if "split" in options else above
    inside = entries(folder)
    synsets = [name for name in inside.folders if SYNSET.fullmatch(name)]
    if synsets and "labels" not in options:
        rows = _of_synsets(folder, inside, listed)
    else:
        images = [name for name in inside.files if is_image(name)]
        if not images:
            raise SessError(_nothing(folder, inside))
        labels = options.get("labels") or _label_file(folder, above)
        found = validation_labels(labels, options.get("meta"), images, listed)
        rows = (Row(one, f"{folder.uri}/{one}", found.get(one, [])) for one in images)
    listed.name_classes(imagenet_classes())
    yield from tables_of(rows)


def _of_synsets(folder: Folder, inside: Entries, listed: Listed) -> Iterator[Row]:
    indices = synset_indices()
    known = {name: str(indices[name]) for name in inside.folders if name in indices}
    if not known:
        raise SessError(
            f"{folder.uri}: no folder is a synset of ImageNet-1k; give imagefolder:{folder.uri} "
            "for classes by the names of the folders"
        )
    for name in inside.folders:
        if name not in indices:
            said = "is no synset of ImageNet-1k; the folder is left out"
            listed.fault(f"{folder.uri}/{name}: {said}")
    yield from rows_by_folder(folder, known, inside.files, listed)


def _split(folder: Folder, split: str) -> Folder:
    for place in _PLACES:
        found = folder / f"{place}{split}"
        if is_folder(found):
            return found
    places = ", ".join(f"{place}{split}" for place in _PLACES)
    raise SessError(f"imagenet:{folder.uri} has none of the folders {places}; check ?split=")


def _label_file(folder: Folder, above: Folder) -> str:
    parent = Folder(folder.uri.rpartition("/")[0])
    for place in dict.fromkeys([folder, parent, above]):
        for name in _LABEL_FILES:
            if place.exists(name):
                return f"{place.uri}/{name}"
    raise SessError(
        f"{folder.uri}: a flat folder needs a label file; give ?labels=FILE "
        f"({', '.join(_LABEL_FILES)}) or --labels FILE.csv with folder:{folder.uri}"
    )


def _nothing(folder: Folder, inside: Entries) -> str:
    said = f"{folder.uri} holds neither folders of synsets (n01440764, ...) nor images"
    splits = [name for name in inside.folders if name in ("train", "val")]
    return f"{said}; choose with ?split={splits[-1]}" if splits else f"{said}; is it the right one?"

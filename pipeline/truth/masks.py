"""A folder of masks: of classes, or of the one class that an image is labelled with."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from pipeline.files import Folder
from pipeline.groups import GROUPS, shipped_groups
from pipeline.sources.options import with_options
from pipeline.sources.reading import open_folder, read_text
from pipeline.truth.base import UNKNOWN, AnyClass, ClassTruth, ImageTruth, Size, Truth
from pipeline.truth.classes import ClassNumbers
from pipeline.truth.pictures import Values, fitting_picture, has_picture, read_mask, values_of
from sess_kernels.errors import SessError, one_line

_OPTIONS = ("binary", "classes", "ignore", "truth")


def open_masks(path: str, number: ClassNumbers) -> Truth:
    """PNG files of palette or grey values, by the path or the stem of the image id.

    Value 0 is background, 255 what nobody knows, and value n the n-th class of the run. ``sess
    export --to masks`` and the tools of PASCAL VOC write them so.

    Options:
        classes: What the values from 1 on stand for, if not the classes of the run: ``voc20``,
            ``coco80``, the ``classes.json`` of ``sess export --to masks``, or a text file with a
            name a line.
        binary: ``1`` where a mask is of the class that its image is labelled with, whichever that
            is, as OpenImages has them: what is not 0 is of the class. 255 is what nobody knows if
            a mask has another value beside it.
        ignore: Folder of masks, by the same names, of what nobody knows; with ``binary``.
        truth: Another truth (``voc:DIR``), which tells classes and boxes; not with ``binary``.

    Raises:
        SessError: If there is no such folder, or an option makes no sense.
    """
    name = f"masks:{path}"
    path, options = with_options("masks", path, _OPTIONS)
    folder = open_folder("masks", path)
    if options.get("binary", "0") not in ("0", "1"):
        raise SessError(f"{name}: binary must be 0 or 1 but is {options['binary']!r}")
    if options.get("binary") == "1":
        return _binary(name, folder, options, len(number))
    if "ignore" in options:
        raise SessError(f"{name}: ignore is for binary masks; give binary=1, or drop it")
    if not number.fit_masks:
        raise SessError(
            f"{name}: masks of 8 bits cannot tell the {len(number):,} classes of the run apart; "
            "run with --class-groups, or give binary=1"
        )
    names = _classes(options["classes"]) if "classes" in options else list(number.names)
    number.check_any(name, names)
    values = values_of([*map(number, names)])
    if "truth" not in options:
        return ClassMasks(name, folder, values)
    from pipeline.truth import open_truth  # which knows this kind too

    return JoinedTruth(name, open_truth(options["truth"], number.names), folder, values)


def _binary(name: str, folder: Folder, options: dict[str, str], n_classes: int) -> Truth:
    for one in ("classes", "truth"):
        if one in options:
            raise SessError(f"{name}: binary masks are of no class of their own; drop {one}")
    ignore = open_folder("masks", options["ignore"]) if "ignore" in options else None
    return BinaryMasks(name, folder, ignore, n_classes)


class ClassMasks(Truth):
    """Masks of classes; what is in an image is known when its mask is read.

    Args:
        name: ``KIND:PATH`` as the user said it.
        folder: Where the masks are.
        values: What their values stand for.
    """

    has_masks = has_regions = True

    def __init__(self, name: str, folder: Folder, values: Values) -> None:
        super().__init__(name)
        self._folder, self._values = folder, values

    def of(self, image_id: str, size: Size | None = None) -> ImageTruth | None:
        """See ``Truth.of``."""
        faults: list[str] = []
        mask = read_mask(self._folder, image_id, self._values, size, faults)
        if mask is None:
            return ImageTruth({}, size, faults) if faults else None
        found = ImageTruth({}, (mask.shape[0], mask.shape[1]), faults, read_mask=lambda: mask)
        present = [value - 1 for value in np.unique(mask.numpy()).tolist() if 0 < value < UNKNOWN]
        found.classes = {
            index: _without_boxes(mask == index + 1, mask == UNKNOWN) for index in present
        }
        return found


class JoinedTruth(Truth):
    """Masks of a folder, and classes and boxes of another truth.

    Args:
        name: ``KIND:PATH`` as the user said it.
        truth: The other truth.
        folder: Where the masks are.
        values: What their values stand for.
    """

    has_masks = True

    def __init__(self, name: str, truth: Truth, folder: Folder, values: Values) -> None:
        super().__init__(name)
        self.has_boxes, self.has_regions = truth.has_boxes, truth.has_regions
        self.listed = truth.listed
        self._truth, self._folder, self._values = truth, folder, values

    def of(self, image_id: str, size: Size | None = None) -> ImageTruth | None:
        """See ``Truth.of``; None where the other truth says nothing and there is no mask."""
        found = self._truth.of(image_id, size)
        if found is None and not has_picture(self._folder, image_id):
            return None
        found = ImageTruth({}, size) if found is None else found
        read = partial(read_mask, self._folder, image_id, self._values, found.size, found.faults)
        return replace(found, read_mask=read)


class BinaryMasks(Truth):
    """Masks of the class that an image is labelled with.

    Args:
        name: ``KIND:PATH`` as the user said it.
        folder: Where the masks are.
        ignore: Where masks of what nobody knows are, if anywhere.
        n_classes: Classes of the run.
    """

    has_regions = True

    def __init__(self, name: str, folder: Folder, ignore: Folder | None, n_classes: int) -> None:
        super().__init__(name)
        self._folder, self._ignore, self._n_classes = folder, ignore, n_classes

    def of(self, image_id: str, size: Size | None = None) -> ImageTruth | None:
        """See ``Truth.of``."""
        faults: list[str] = []
        picture = _read(self._folder, image_id, size, faults)
        if picture is None:
            return ImageTruth({}, size, faults) if faults else None
        marked = picture > 0
        unknown = picture == UNKNOWN
        if self._ignore is not None:
            other = _read(self._ignore, image_id, (marked.shape[0], marked.shape[1]), faults)
            unknown = torch.zeros_like(marked) if other is None else (other > 0) & ~marked
        elif bool((marked & ~unknown).any()):
            marked &= ~unknown
        else:  # 255 is what marks the object
            unknown = torch.zeros_like(marked)
        truth = AnyClass(_without_boxes(marked, unknown), self._n_classes)
        return ImageTruth(truth, (marked.shape[0], marked.shape[1]), faults, labelled=False)


def _read(
    folder: Folder, image_id: str, size: Size | None, faults: list[str]
) -> torch.Tensor | None:
    fitting = fitting_picture(folder, image_id, size, faults)
    return None if fitting is None else torch.from_numpy(fitting[1])


def _without_boxes(region: torch.Tensor, unknown: torch.Tensor) -> ClassTruth:
    no_boxes, none_difficult = torch.zeros(0, 4), torch.zeros(0, dtype=torch.bool)
    return ClassTruth(no_boxes, none_difficult, lambda: region, lambda: unknown)


def _classes(said: str) -> list[str]:
    """Names of the values from 1 on."""
    if said in GROUPS:
        return list(shipped_groups(said))
    text = read_text(said)
    if not said.endswith(".json"):
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        return [str(one["name"]) for one in json.loads(text)["classes"]]
    except (ValueError, KeyError, TypeError) as error:
        what = "the classes.json of an export of masks"
        raise SessError(f"{said} is not {what}: {one_line(error)}") from error

"""PASCAL VOC: boxes of ``Annotations``, masks of ``SegmentationClass``."""

from __future__ import annotations

from pipeline.sources.options import with_options
from pipeline.sources.reading import entries, open_folder
from pipeline.sources.voc import VOC_CLASSES, voc_root
from pipeline.truth.annotations import AnnotatedTruth, Masks
from pipeline.truth.base import Truth
from pipeline.truth.classes import ClassNumbers
from pipeline.truth.pictures import values_of
from sess_kernels.errors import SessError

_ANNOTATIONS = "Annotations"
_MASKS = ("SegmentationClassAug", "SegmentationClass")
_ORIGIN = 1  # the first pixel of an image


def open_voc(path: str, number: ClassNumbers) -> Truth:
    """Annotations and masks of a folder such as VOC2012, or of a VOCdevkit with one of them.

    An image is found by the stem of its id. Corners count from 1 and include the last pixel, so
    that boxes are (xmin - 1, ymin - 1, xmax, ymax). Masks are those of ``SegmentationClassAug`` (of
    10,582 more images, Hariharan et al., ICCV 2011) if there is such a folder, else of
    ``SegmentationClass``.

    Options:
        year: Which of several folders of a VOCdevkit.

    Raises:
        SessError: If there is no such folder, or neither annotations nor masks in it.
    """
    path, options = with_options("voc", path, ["year"])
    folder = open_folder("voc", path)
    inside = entries(folder).folders
    if not {_ANNOTATIONS, *_MASKS} & {*inside}:
        folder = voc_root(path, options.get("year"))
        inside = entries(folder).folders
    has_boxes = _ANNOTATIONS in inside
    masks = next((folder / one for one in _MASKS if one in inside), None)
    if not has_boxes and masks is None:
        raise SessError(
            f"voc:{folder.uri} is no truth: it holds none of {_ANNOTATIONS}, {', '.join(_MASKS)}"
        )
    return AnnotatedTruth(
        f"voc:{path}",
        folder / _ANNOTATIONS if has_boxes else None,
        number,
        _ORIGIN,
        Masks(masks, values_of([*map(number, VOC_CLASSES)]))
        if masks and number.fit_masks
        else None,
    )

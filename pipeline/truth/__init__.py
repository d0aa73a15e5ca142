"""Truth: what annotations say of images, by the ids of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.truth.base import AnyClass, ClassTruth, ImageTruth, Truth
from pipeline.truth.classes import ClassNumbers
from pipeline.truth.coco import open_coco
from pipeline.truth.guess import guess_truth
from pipeline.truth.imagenet import open_imagenet
from pipeline.truth.masks import open_masks
from pipeline.truth.table import open_table
from pipeline.truth.voc import open_voc
from sess_kernels.errors import SessError, unknown

Opener = Callable[[str, ClassNumbers], Truth]

TRUTHS: dict[str, Opener] = {
    "coco": open_coco,
    "imagenet": open_imagenet,
    "masks": open_masks,
    "table": open_table,
    "voc": open_voc,
}
"""Openers by kind, as in ``voc:DIR``: a path and the classes of the run, to a truth."""


def open_truth(said: str, class_names: Sequence[str]) -> Truth:
    """The truth given as ``KIND:PATH``, or as a path whose kind is guessed.

    ===============================  =============================================================
    ``voc:DIR?year=2007``            VOC2007, VOC2012 or a VOCdevkit: boxes, ``difficult``, masks
    ``coco:ANN.json``                COCO or LVIS: boxes, crowds, regions, masks of the regions
    ``imagenet:DIR``                 ILSVRC's ``Annotations/CLS-LOC`` or ``LOC_val_solution.csv``
    ``table:FILE?unit=fraction``     boxes of a ``.csv``, ``.jsonl`` or ``.parquet``
    ``masks:DIR?binary=1``           PNG masks of classes, or of the class an image is labelled with
    ===============================  =============================================================

    What a kind's options are its opener tells, such as ``open_masks``. Classes are found as labels
    of a run are: by index, by name in any case, by WordNet id. Those that the run does not have
    are left out and counted.

    Args:
        said: The truth.
        class_names: Name of every class of the run, by its index.

    Raises:
        SessError: If the kind is unknown, the path cannot be read, or none of its classes is one
            of the run's.

    Example:
        >>> open_truth("tabel:boxes.csv", ["cat"])
        Traceback (most recent call last):
        ...
        sess_kernels.errors.SessError: unknown kind of truth 'tabel'; did you mean 'table'? ...
    """
    kind, colon, path = said.partition(":")
    if not colon or path.startswith("//"):  # a plain path, or a URI such as s3://bucket/VOC2012
        kind, path = guess_truth(said), said
    if kind not in TRUTHS:
        raise SessError(unknown("kind of truth", kind, TRUTHS))
    return TRUTHS[kind](path, ClassNumbers(class_names))


__all__ = ["TRUTHS", "AnyClass", "ClassTruth", "ImageTruth", "Truth", "guess_truth", "open_truth"]

"""Sources: datasets as a stream of tables of (image id, URI, labels, size)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from pipeline.sources.coco import read_coco
from pipeline.sources.folder import read_folder
from pipeline.sources.guess import guess
from pipeline.sources.hf import read_hf
from pipeline.sources.imagefolder import read_imagefolder
from pipeline.sources.imagenet import read_imagenet
from pipeline.sources.listed import Listed
from pipeline.sources.table import read_labels, read_table
from pipeline.sources.voc import read_voc
from pipeline.sources.wds import read_wds
from sess_kernels.errors import SessError, unknown

Reader = Callable[[str, Listed], Iterator[pa.Table]]

SOURCES: dict[str, Reader] = {
    "coco": read_coco,
    "folder": read_folder,
    "hf": read_hf,
    "imagefolder": read_imagefolder,
    "imagenet": read_imagenet,
    "table": read_table,
    "voc": read_voc,
    "wds": read_wds,
}
"""Readers by kind, as in ``folder:DIR``: a path and what to tell, to ``records.SOURCE_SCHEMA``."""


def open_source(source: str, listed: Listed | None = None) -> Iterator[pa.Table]:
    """Rows of a source given as ``KIND:PATH``, or as a path whose kind is guessed.

    =======================================  =====================================================
    ``folder:DIR``                           images at any depth, without labels
    ``imagefolder:DIR``                      a folder for each class
    ``imagenet:DIR?split=..&labels=FILE``    a folder for each synset, or validation images and
                                             their label file
    ``voc:DIR?split=NAME``                   VOC2007, VOC2012 or a VOCdevkit with one of them
    ``coco:ANN.json?images=DIR``             COCO or LVIS annotations and their images
    ``table:FILE``                           ``.csv``, ``.jsonl`` or ``.parquet``
    ``wds:PATTERN``                          WebDataset tars: a path, ``{0000..0099}``, a folder
    ``hf:DIR?split=NAME``                    Parquet files of the Hugging Face Hub
    =======================================  =====================================================

    A plain path is guessed by its ending or, of a folder, by what lies directly in it; see
    ``guess``. What a kind's options are its reader tells, such as ``read_voc``.

    Args:
        source: The source.
        listed: Is told what becomes known beside the rows.

    Returns:
        Tables of ``records.SOURCE_SCHEMA`` with at most ``records.TABLE_ROWS`` rows each, read as
        they are asked for.

    Raises:
        SessError: If the kind is unknown or the path cannot be read.

    Example:
        >>> open_source("foldr:photos")
        Traceback (most recent call last):
        ...
        sess_kernels.errors.SessError: unknown kind of source 'foldr'; did you mean 'folder' ...
    """
    kind, colon, path = source.partition(":")
    if not colon or path.startswith("//"):  # a plain path, or a URI such as s3://bucket/photos
        kind, path = guess(source), source
    if kind not in SOURCES:
        raise SessError(unknown("kind of source", kind, SOURCES))
    return SOURCES[kind](path, Listed() if listed is None else listed)


def first_rows(tables: Iterable[pa.Table], limit: int) -> Iterator[pa.Table]:
    """The first ``limit`` rows; nothing is read beyond the table that holds the last of them.

    Example:
        >>> tables = [pa.table({"row": [0, 1]}), pa.table({"row": [2, 3]})]
        >>> [table["row"].to_pylist() for table in first_rows(tables, 3)]
        [[0, 1], [2]]
    """
    for table in tables:
        yield table.slice(0, limit)
        limit -= table.num_rows
        if limit <= 0:
            return


__all__ = [
    "SOURCES",
    "Listed",
    "first_rows",
    "guess",
    "open_source",
    "read_coco",
    "read_folder",
    "read_hf",
    "read_imagefolder",
    "read_imagenet",
    "read_labels",
    "read_table",
    "read_voc",
    "read_wds",
]

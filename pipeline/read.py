"""Read the maps of a run: what is committed, whatever is being written beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from pipeline.commit import committed
from pipeline.files import Folder
from pipeline.layout import MAPS_FOLDER, RUN_FILE
from pipeline.sinks.encode import decode_map, enlarge_map
from pipeline.sinks.layouts import read_layout
from pipeline.stores import open_file
from sess_kernels import PatchSaliency
from sess_kernels.errors import SessError


@dataclass(frozen=True)
class MapRecord:
    """The map of one class in one image.

    Attributes:
        image_id: Id of the image.
        class_index: Index of the class.
        class_name: Name of the class.
        score: Mean probability of the class over the windows of the first scale.
        map: float32 (H, W) in [0, 1] at the size of the image.
        patches: The kept patches, best score first, if the run stored them (``--keep-patches``).
    """

    image_id: str
    class_index: int
    class_name: str
    score: float
    map: NDArray[np.float32]
    patches: tuple[PatchSaliency, ...] = ()


@dataclass(frozen=True)
class ImageMaps:
    """An image of a run and the maps of its classes.

    Attributes:
        image_id: Id of the image.
        uri: Where its file is.
        height: Its height in pixels, after EXIF rotation.
        width: Its width.
        records: A map for each class.
    """

    image_id: str
    uri: str
    height: int
    width: int
    records: tuple[MapRecord, ...]


def read_rows(out: str | Path) -> Iterator[dict[str, Any]]:
    """Rows of ``records.RESULT_SCHEMA`` as they are stored, one for each image.

    Raises:
        SessError: If OUT is no folder of a run.
    """
    folder = Folder.of(out)
    names = committed(folder)
    if not names and not folder.exists(RUN_FILE):
        raise SessError(f"{out} holds no maps; is it the --out of a `sess run`?")
    for name in names:
        with open_file(f"{(folder / MAPS_FOLDER).uri}/{name}") as file:
            for batch in pq.ParquetFile(file).iter_batches(batch_size=64):
                yield from batch.to_pylist()


def read_maps(out: str | Path) -> Iterator[MapRecord]:
    """One record for each image and class.

    Raises:
        SessError: If OUT is no folder of a run.

    Example:
        >>> next(read_maps("nowhere"))
        Traceback (most recent call last):
        ...
        sess_kernels.errors.SessError: nowhere holds no maps; is it the --out of a `sess run`?
    """
    for image in read_images(out):
        yield from image.records


def read_images(out: str | Path) -> Iterator[ImageMaps]:
    """The images that have maps, one after the other.

    Raises:
        SessError: If OUT is no folder of a run.
    """
    folder = Folder.of(out)
    for row in read_rows(out):
        if row["targets"]:
            yield image_maps(folder, row)


def image_maps(out: Folder, row: dict[str, Any]) -> ImageMaps:
    """An image and its maps, decoded, of a row as it is stored."""
    records = tuple(_record(out, row, one) for one in row["targets"])
    return ImageMaps(row["image_id"], row["uri"], row["height"], row["width"], records)


def _record(folder: Folder, row: dict[str, Any], target: dict[str, Any]) -> MapRecord:
    return MapRecord(
        row["image_id"],
        target["class_index"],
        target["class_name"],
        target["score"],
        enlarge_map(_map(folder, target), (row["height"], row["width"])),
        tuple(_patch(patch) for patch in target["patches"] or ()),
    )


def _map(out: Folder, target: dict[str, Any]) -> NDArray[np.float32]:
    stored = target["map"]
    if stored["bytes"] is not None:
        return decode_map(stored["bytes"], target["map_dtype"], target["map_shape"])
    return read_layout(out.read(stored["path"]), target["class_index"])


def _patch(stored: dict[str, Any]) -> PatchSaliency:
    map_ = decode_map(stored["map"], stored["map_dtype"], stored["map_shape"])
    left, top, right, bottom = stored["window"]
    height, width = stored["scaled_size"]
    return PatchSaliency(
        stored["scale"],
        (height, width),
        (left, top, right, bottom),
        (stored["box"][0], stored["box"][1], stored["box"][2], stored["box"][3]),
        stored["score"],
        torch.from_numpy(map_.copy()),
    )

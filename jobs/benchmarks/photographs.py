"""Photographs with their classes, for benchmarks that need real ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jobs.benchmarks.measure import Setting
from jobs.benchmarks.searched import Classes
from jobs.photos import PHOTOS, photo
from pipeline.config import RunConfig
from pipeline.images import read_rgb
from pipeline.labels import LabelResolver
from pipeline.planning import Dataset
from pipeline.stages.backbone import read_class_groups
from sess_kernels import Backbone
from sess_kernels.errors import SessError


class Photograph(NamedTuple):
    """A photograph.

    Attributes:
        name: The name of its file.
        classes: Its classes; ``None`` where these are predicted.
        read: Reads its pixels (H, W, 3).
    """

    name: str
    classes: Classes
    read: Callable[[], NDArray[np.uint8]]


def grouped(setting: Setting) -> Backbone:
    """The backbone of a benchmark, its classes grouped if that was asked for."""
    backbone: Backbone = setting.load()
    if setting.class_groups:
        backbone.group_classes(read_class_groups(setting.class_groups))
    return backbone


def photographs_of(setting: Setting, backbone: Backbone) -> list[Photograph]:
    """The photographs of a benchmark's source; those of ``sess demo`` if there is none.

    Raises:
        SessError: If the source cannot be read, a label is unknown, or there are class groups for
            photographs of ImageNet's classes.
    """
    if setting.source is None and setting.class_groups:
        raise SessError("class groups are for photographs of your own; give them with --source")
    if setting.source is None:
        return [
            Photograph(name, [of_photo], partial(_rgb, name)) for name, of_photo in PHOTOS.items()
        ]
    config = RunConfig(labels=setting.labels, limit=setting.images)
    resolve = LabelResolver(backbone.class_names, backbone.name)
    found: list[Photograph] = []
    for table in Dataset(setting.source, config).tables():
        uris = table["uri"].to_pylist()
        classes: list[Classes] = [None] * table.num_rows
        if setting.labels != "predicted":
            columns = (table[name].combine_chunks() for name in ("image_id", "labels"))
            classes = resolve(*columns).to_pylist()
        names = (PurePosixPath(uri).name for uri in uris)
        found += map(Photograph, names, classes, (partial(read_rgb, uri) for uri in uris))
    return found


def _rgb(name: str) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(photo(name)).convert("RGB"))

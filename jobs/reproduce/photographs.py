"""Single photographs with their classes, for times and pictures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.photos import PHOTOS, photo
from jobs.reproduce.experiment import Experiment
from jobs.reproduce.settings import Data, ReproduceConfig
from jobs.reproduce.subset import write_subset
from pipeline.files import Folder
from pipeline.images import read_rgb
from pipeline.labels import LabelResolver
from sess_kernels import Backbone
from sess_kernels.errors import SessError, one_line

Pixels = NDArray[np.uint8]


class Photograph(NamedTuple):
    """A photograph.

    Attributes:
        name: Its id.
        pixels: ``uint8 (H, W, 3)``.
        label: Index or name of its first class, ``None`` where it is predicted.
    """

    name: str
    pixels: Pixels
    label: str | None

    def classes(self, backbone: Backbone) -> list[int] | None:
        """Its class as an index of the backbone.

        Raises:
            SessError: If the backbone has no such class.
        """
        if self.label is None:
            return None
        resolve = LabelResolver(backbone.class_names, backbone.name)
        [[found]] = resolve(pa.array([self.name]), pa.array([[self.label]])).to_pylist()
        return [found]


def photographs_of(
    experiment: Experiment, settings: ReproduceConfig, data: Data | None
) -> tuple[list[Photograph], str]:
    """The photographs of an experiment, and a digest of which they are.

    Args:
        experiment: Says how many.
        settings: What was asked for.
        data: Their source; those of scikit-image if there is none.

    Raises:
        SessError: If a source or an image cannot be read, or class groups are given for those of
            scikit-image, whose labels are ImageNet's.
    """
    if data is None:
        if settings.class_groups:
            raise SessError("class groups are for photographs of your own; give them with --data")
        names = list(PHOTOS)[: min(settings.limit or len(PHOTOS), experiment.images or len(PHOTOS))]
        return [Photograph(name, _rgb(photo(name)), str(PHOTOS[name])) for name in names], "skimage"
    out = Folder.of(settings.out)
    subset = write_subset(data, settings, experiment.images, experiment.seed, out)
    return [_read(row) for row in subset.table.to_pylist()], subset.digest


def _read(row: dict[str, object]) -> Photograph:
    labels = row["labels"]
    try:
        pixels = read_rgb(str(row["uri"]))
    except OSError as error:
        raise SessError(f"image {row['uri']} cannot be read: {one_line(error)}") from error
    first = labels[0] if isinstance(labels, list) and labels else None
    return Photograph(str(row["image_id"]), pixels, first)


def _rgb(pixels: Pixels) -> Pixels:
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)

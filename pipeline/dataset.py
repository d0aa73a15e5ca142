"""The maps of a run for training: ``torch.utils.data``, any order, any number of workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from torch.utils.data import Dataset

from pipeline.commit import ROW
from pipeline.files import Folder
from pipeline.images import read_rgb
from pipeline.mapped import NUMBERS, mapped
from pipeline.sinks.encode import decode_values, enlarge_map, to_unit
from sess_kernels.errors import SessError, one_line, unknown

Sample = dict[str, Any]
PER = ("map", "image")


class SaliencyDataset(Dataset[Any]):
    """The committed maps of a run, in the order of its plan, whichever engine wrote them.

    The first time they are copied to a cache of this machine, see ``mapped``; from then on a map
    costs its decoding. An object is light: it opens the files in each process that uses it, be the
    workers of a ``DataLoader`` forked or spawned. A run that goes on shows in a new object.

    A sample is a dict of ``image_id``, ``uri``, ``class_index``, ``class_name``, ``score`` and
    ``map`` (H, W) at the size of the photograph; with ``per="image"`` the last four hold all of its
    classes: tensors (K,), a list, and ``map`` (K, H, W). Photographs differ in size: resize them in
    ``transform``, or give the ``DataLoader`` ``collate_fn=list``.

    Args:
        out: Folder of the run, finished or not.
        transform: Called with each sample; what it returns is the sample.
        per: ``map`` (a sample for each image and class) or ``image``.
        as_uint8: Maps are uint8 from 0 to 255, not float32 from 0 to 1; those stored as uint8 are
            not converted.
        images: Add ``image``, the photograph uint8 (3, H, W) in RGB.
        rank: Which share of the samples: every ``world_size``-th one from ``rank`` on. That of
            ``torch.distributed`` if not given and it is initialised, else all. With a
            ``DistributedSampler``, which shares out itself, give ``rank=0, world_size=1``.
        world_size: Shares that there are.
        equal: Leave out the last samples that do not go round, so that all shares are as long.
        cache: Folder for the copy.

    Raises:
        SessError: If OUT holds no maps, or an argument has no such value.

    Example:
        >>> SaliencyDataset("nowhere")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        sess_kernels.errors.SessError: .../nowhere holds no maps; is it the --out of a `sess run`?
    """

    def __init__(
        self,
        out: str | Path,
        transform: Callable[[Sample], Any] | None = None,
        *,
        per: str = "map",
        as_uint8: bool = False,
        images: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
        equal: bool = False,
        cache: str | Path | None = None,
    ) -> None:
        if per not in PER:
            raise SessError(unknown("per", per, PER))
        self._rank, self._world_size = _share(rank, world_size)
        self._transform = transform
        self._per, self._as_uint8, self._images = per, as_uint8, images
        self._out = Folder.of(out)
        self._files = mapped(self._out, Path(cache) if cache else None)
        self._opened: _Opened | None = None
        n_all = len(self._open().first) - 1
        if not n_all:
            raise SessError(f"{out} holds no maps yet: all of its images failed or are still to do")
        left_out = n_all % self._world_size if equal else 0
        self._length = len(range(self._rank, n_all - left_out, self._world_size))

    def __len__(self) -> int:
        """Samples of this share."""
        return self._length

    def __getitem__(self, index: int) -> Any:
        """A sample.

        Raises:
            IndexError: If there is none of this number.
            SessError: If its map is broken, or the photograph cannot be read.
        """
        if not -self._length <= index < self._length:
            raise IndexError(f"index {index} is out of range: there are {self._length} samples")
        opened = self._open()
        at = self._rank + index % self._length * self._world_size
        first, last = opened.first[at], opened.first[at + 1]
        sample = self._sample(opened, range(int(first), int(last)))
        return self._transform(sample) if self._transform else sample

    def __getstate__(self) -> dict[str, Any]:
        """All but the open files: another process opens its own."""
        return self.__dict__ | {"_opened": None}

    def _open(self) -> _Opened:
        if self._opened is None:
            self._opened = _Opened(*self._files.open(), self._per)
        return self._opened

    def _sample(self, opened: _Opened, places: range) -> Sample:
        rows = [opened.row(place) for place in places]
        sample = {name: rows[0][name] for name in ("image_id", "uri")}
        maps = [self._map(opened, row) for row in rows]
        if self._per == "map":
            sample |= {name: rows[0][name] for name in ("class_index", "class_name", "score")}
            sample["map"] = maps[0]
        else:
            sample["class_index"] = torch.tensor([row["class_index"] for row in rows])
            sample["class_name"] = [row["class_name"] for row in rows]
            sample["score"] = torch.tensor([row["score"] for row in rows])
            sample["map"] = torch.stack(maps)
        if self._images:
            sample["image"] = _photograph(sample["image_id"], sample["uri"])
        return sample

    def _map(self, opened: _Opened, row: dict[str, Any]) -> Tensor:
        size = (row["height"], row["width"])
        values = self._values(opened, row)
        if self._as_uint8 and values.dtype == np.uint8 and values.shape == size:
            return torch.from_numpy(values)
        unit = enlarge_map(to_unit(values), size)
        return torch.from_numpy((unit * 255).round().astype(np.uint8) if self._as_uint8 else unit)

    def _values(self, opened: _Opened, row: dict[str, Any]) -> NDArray[Any]:
        """A map as it is stored."""
        if row["start"] < 0:
            return _array(f"{self._out.path}/{row['path']}")
        content = opened.maps[row["start"] : row["start"] + row["size"]]
        return decode_values(content, row["map_dtype"], (row["map_height"], row["map_width"]))


class _Opened:
    """What a process has mapped into its memory.

    Attributes:
        maps: The stored maps.
        first: Where each sample begins in the index, and the end of the last one.
    """

    def __init__(self, index: pa.Table, maps: memoryview, per: str) -> None:
        self.maps = maps
        columns = {name: index[name].combine_chunks() for name in index.column_names}
        rows = columns[ROW].to_numpy()
        begins = np.flatnonzero(np.diff(rows, prepend=-1)) if per == "image" else range(len(rows))
        self.first = np.append(np.asarray(begins, np.int64), len(rows))
        # a look into NumPy takes a tenth of one into Arrow
        self._numbers = columns["numbers"].flatten().to_numpy().reshape(-1, len(NUMBERS))
        self._scores = columns["score"].to_numpy()
        few = {name: columns[name] for name in ("class_name", "map_dtype")}
        self._few = {k: (v.indices.to_numpy(), v.dictionary.to_pylist()) for k, v in few.items()}
        texts = {name: columns[name] for name in ("image_id", "uri", "path")}
        self._texts = {k: v for k, v in texts.items() if v.null_count < len(v)}

    def row(self, place: int) -> dict[str, Any]:
        """A row of the index."""
        found = dict(zip(NUMBERS, self._numbers[place].tolist(), strict=True))
        found |= {name: known[number[place]] for name, (number, known) in self._few.items()}
        found |= {name: column[place].as_py() for name, column in self._texts.items()}
        return found | {"score": self._scores[place].item()}


def _share(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if (rank is None) != (world_size is None):
        raise SessError("rank and world_size go together; give both or neither")
    if rank is None or world_size is None:
        if not (distributed.is_available() and distributed.is_initialized()):
            return 0, 1
        return distributed.get_rank(), distributed.get_world_size()
    if not 0 <= rank < world_size:
        raise SessError(f"rank must be from 0 to {world_size - 1} but got {rank}")
    return rank, world_size


def _array(path: str) -> NDArray[Any]:
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise SessError(f"a map cannot be read from {path}: {one_line(error)}") from error
    return found


def _photograph(image_id: str, uri: str) -> Tensor:
    try:
        pixels = read_rgb(uri)
    except OSError as error:
        raise SessError(
            f"the photograph of {image_id} cannot be read: {one_line(error)}"
        ) from error
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())

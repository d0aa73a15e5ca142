"""``pipeline.SaliencyDataset`` beside decoding the same maps from a list in memory."""

from __future__ import annotations

import resource
import statistics
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from jobs.benchmarks.measure import Row, Setting, alternate, spread
from pipeline import SaliencyDataset, read_maps
from pipeline.commit import commit
from pipeline.files import Folder
from pipeline.records import OK, RESULT_SCHEMA
from pipeline.sinks.encode import Map, decode_values, encode_map
from sess_kernels.errors import SessError

_SIZE = (375, 500)  # most photographs of VOC, upright or not
_MAPS = 4096
_DIFFERENT = 64
_FILES = 16
_WORKERS = 2
_BATCH = 32


class PngBytes(Dataset[Tensor]):
    """PNG files in memory: what reading maps cannot do without.

    Args:
        files: Their bytes.
    """

    def __init__(self, files: Sequence[bytes]) -> None:
        self._files = files

    def __len__(self) -> int:
        """How many they are."""
        return len(self._files)

    def __getitem__(self, index: int) -> Tensor:
        """One of them, decoded."""
        return torch.from_numpy(decode_values(self._files[index], "uint8", _SIZE))


def dataset(setting: Setting) -> list[Row]:
    """Time of an epoch of uint8 maps of 375x500 pixels, two workers each, in random order."""
    files = _files(setting)
    with tempfile.TemporaryDirectory() as folder:
        out = Folder.of(Path(folder) / "out")
        _write(out, files)
        ours = _Epochs(SaliencyDataset(out.uri, as_uint8=True, cache=folder))
        alone = _Epochs(PngBytes(files))
        times = alternate({"dataset": ours.run, "bytes": alone.run}, setting.repeats, "cpu")
    rates = {name: [len(files) / one for one in each] for name, each in times.items()}
    return [
        {
            "backbone": "any",
            "what": f"SaliencyDataset, uint8 maps of 375x500, {_WORKERS} workers",
            "against": "decoding the same PNG bytes alone",
            "ratio": spread(_ratios(times["dataset"], times["bytes"])),
            "cpu_ratio": spread(_ratios(ours.cpu_s[1:], alone.cpu_s[1:])),
            "maps_per_s": spread(rates["dataset"]),
            "against_maps_per_s": spread(rates["bytes"]),
            "cpu_ms_per_map": 1e3 * statistics.median(ours.cpu_s[1:]) / len(files),
            "against_cpu_ms_per_map": 1e3 * statistics.median(alone.cpu_s[1:]) / len(files),
            "png_bytes_per_map": statistics.mean(map(len, files)),
            "maps": len(files),
        }
    ]


class _Epochs:
    """A loader whose workers start and end with each epoch, as those of a ``DataLoader`` do.

    Attributes:
        cpu_s: CPU time of each epoch, of this process and of the workers; other work on the
            machine moves it less than the time that passes.
    """

    def __init__(self, maps: Dataset[Any]) -> None:
        random = torch.Generator().manual_seed(0)
        self._loader = DataLoader(
            maps, _BATCH, shuffle=True, num_workers=_WORKERS, generator=random
        )
        self.cpu_s: list[float] = []

    def run(self) -> None:
        """See every map once."""
        before = _cpu_s()
        seen = 0
        for batch in self._loader:
            maps = batch["map"] if isinstance(batch, dict) else batch
            seen += int(maps.shape[1:] == _SIZE) * len(maps)
        if seen != _MAPS:
            raise SessError(f"{seen} of {_MAPS} maps came")
        self.cpu_s.append(_cpu_s() - before)


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _ratios(mine: Sequence[float], floor: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(mine, floor, strict=True)]


def _files(setting: Setting) -> list[bytes]:
    """PNG files of maps of the source, a folder of a run; drawn ones if there is none."""
    if setting.source:
        maps = [one.map for one in islice(read_maps(setting.source), _DIFFERENT)]
    else:
        maps = [_drawn(seed) for seed in range(_DIFFERENT)]
    files = [encode_map(_resized(one), "uint8") for one in maps]
    # copies: nothing of so large a dataset would be in a processor's cache either
    return [bytes(bytearray(files[number % len(files)])) for number in range(_MAPS)]


def _drawn(seed: int) -> Map:
    """A map as smooth as one of SESS, and of a few hills."""
    hills = np.random.default_rng(seed).random((8, 10), np.float32) ** 4
    return np.asarray(Image.fromarray(hills))


def _resized(values: Map) -> Map:
    height, width = _SIZE
    resized = Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)
    whole = np.asarray(resized) - min(resized.getextrema()[0], 0)
    found: Map = whole / max(whole.max(), 1e-6)
    return found


def _write(out: Folder, files: Sequence[bytes]) -> None:
    """A run whose maps these are."""
    height, width = _SIZE
    shared = {"height": height, "width": width, "status": OK, "error": None, "n_patches": 81}
    of_class = {"class_index": 0, "class_name": "cat", "score": 0.5, "n_kept": 81, "patches": None}
    of_class |= {"map_dtype": "uint8", "map_shape": list(_SIZE)}
    each = len(files) // _FILES
    for start in range(0, len(files), each):
        rows = [
            {"row": row, "image_id": f"{row:06d}", "uri": f"/photos/{row:06d}.jpg"}
            | shared
            | {"targets": [of_class | {"map": {"bytes": files[row], "path": None}}]}
            for row in range(start, min(start + each, len(files)))
        ]
        commit(out, f"drawn{start:06d}", pa.Table.from_pylist(rows, RESULT_SCHEMA))

"""What each ``--map-dtype`` and ``--map-stride`` takes, and what it costs in exactness."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision.ops import box_iou

from jobs.benchmarks.measure import Row, Setting, spread
from jobs.benchmarks.photographs import grouped, photographs_of
from pipeline import read_maps
from pipeline.config import MAP_DTYPES
from pipeline.files import Folder
from pipeline.layout import RUN_FILE
from pipeline.sinks.encode import Map, decode_map, encode_map, enlarge_map, reduce_map
from sess_kernels import SESS, SESSConfig
from sess_kernels.errors import SessError
from sess_kernels.pseudo import BoxConfig, pseudo_boxes

_STRIDES = (1, 2, 4, 8)
_LEVELS = (1, 3, 6, 9)
_BOX = BoxConfig(thresholds=(0.5,), components="largest")
_FINE = ("float32", "uint16")
_RLE = 3  # zlib's strategy for what filters leave of an image

Encode = Callable[[Map], bytes]
Decode = Callable[[bytes, Map], Map]


def sizes(setting: Setting) -> list[Row]:
    """Bytes of a map, its errors, and how its box meets that of the float32 map.

    The maps are those of a finished run, where ``source`` is its OUT; its ``map_dtype`` is then
    what all are compared with. Else SESS computes them, of ``images`` photographs.
    """
    ways = dict(_ways())
    found = {name: _Cost(*way) for name, way in ways.items()}
    stored, maps = _maps(setting)
    n_maps = 0
    for values in maps:
        n_maps += 1
        box = _box(values)
        for cost in found.values():
            cost.add(values, box)
    if not n_maps:
        raise SessError(f"{setting.source} has no maps")
    about = {"backbone": "any", "against": "raw float32", "maps": n_maps, "measured_on": stored}
    return [about | {"what": name} | cost.row() for name, cost in found.items()]


class _Cost:
    """What one way to store maps takes, over all maps."""

    def __init__(self, encode: Encode, decode: Decode) -> None:
        self._encode, self._decode = encode, decode
        self._bytes: list[int] = []
        self._raw: list[int] = []
        self._errors: list[tuple[float, float]] = []
        self._ious: list[float] = []
        self._seconds: list[tuple[float, float]] = []

    def add(self, values: Map, box: torch.Tensor) -> None:
        """Store a map and read it again."""
        times = [time.perf_counter()]
        content = self._encode(values)
        times.append(time.perf_counter())
        found = self._decode(content, values)
        times.append(time.perf_counter())
        self._seconds.append((times[1] - times[0], times[2] - times[1]))
        self._bytes.append(len(content))
        self._raw.append(values.nbytes)
        error = np.abs(found.astype(np.float64) - values)
        self._errors.append((float(error.max()), float(error.mean())))
        self._ious.append(box_iou(_box(found), box).item())

    def row(self) -> Row:
        """The figures."""
        most, mean = np.array(self._errors).T
        encode, decode = np.median(self._seconds, axis=0) * 1e3
        shares = [one / raw for one, raw in zip(self._bytes, self._raw, strict=True)]
        return {
            "ratio": spread(shares),
            "bytes_per_map": float(np.mean(self._bytes)),
            "share_of_float32": sum(self._bytes) / sum(self._raw),
            "max_error": float(most.max()),
            "mean_error": float(mean.mean()),
            "box_iou": {
                "mean": float(np.mean(self._ious)),
                "percentile_5": float(np.percentile(self._ious, 5)),
            },
            "encode_ms": float(encode),
            "decode_ms": float(decode),
        }


def _ways() -> Iterator[tuple[str, tuple[Encode, Decode]]]:
    """What is measured, by name."""
    for dtype in MAP_DTYPES:
        for stride in _STRIDES:
            encode, decode = partial(_store, dtype, stride), partial(_load, dtype, stride)
            yield f"{dtype}, stride {stride}", (encode, decode)
    for dtype in ("float32", "uint8"):
        yield f"np.savez_compressed of {dtype}", (partial(_save_npz, dtype), _load_npz)
    for dtype in ("uint8", "uint16"):
        load = partial(_load, dtype, 1)
        for level in _LEVELS:
            encode = partial(_png, dtype, compress_level=level)
            yield f"{dtype}, PNG of zlib level {level}", (encode, load)
        encode = partial(_png, dtype, compress_level=1, compress_type=_RLE)
        yield f"{dtype}, PNG of zlib strategy RLE", (encode, load)
        for level in _LEVELS[1:3]:
            encode = partial(_png_up, dtype, level)
            yield f"{dtype}, PNG of zlib level {level}, rows minus the row above", (encode, load)


def _store(dtype: str, stride: int, values: Map) -> bytes:
    return encode_map(reduce_map(values, stride), dtype)


def _load(dtype: str, stride: int, content: bytes, like: Map) -> Map:
    height, width = like.shape
    stored = decode_map(content, dtype, (-(-height // stride), -(-width // stride)))
    return enlarge_map(stored, (height, width))


def _integers(dtype: str, values: Map) -> Any:
    return values if dtype == "float32" else (values * np.iinfo(dtype).max).round().astype(dtype)


def _save_npz(dtype: str, values: Map) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, map=_integers(dtype, values))
    return file.getvalue()


def _load_npz(content: bytes, _: Map) -> Map:
    values = np.load(io.BytesIO(content))["map"]
    whole = 1 if values.dtype == np.float32 else np.iinfo(values.dtype).max
    found: Map = values / np.float32(whole)
    return found


def _png(dtype: str, values: Map, **options: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(_integers(dtype, values)).save(file, "png", **options)
    return file.getvalue()


def _png_up(dtype: str, level: int, values: Map) -> bytes:
    """With one filter for all rows, where PIL tries all on each."""
    options = {
        cv2.IMWRITE_PNG_COMPRESSION: level,
        cv2.IMWRITE_PNG_STRATEGY: cv2.IMWRITE_PNG_STRATEGY_DEFAULT,
        cv2.IMWRITE_PNG_FILTER: cv2.IMWRITE_PNG_FILTER_UP,
    }
    flat = [number for option in options.items() for number in option]
    content: bytes = cv2.imencode(".png", _integers(dtype, values), flat)[1].tobytes()
    return content


def _box(values: Map) -> torch.Tensor:
    """The box of the largest component above half of the maximum; without any the whole map."""
    boxes = pseudo_boxes(torch.from_numpy(values), _BOX).boxes[:1]
    height, width = values.shape
    return boxes if len(boxes) else torch.tensor([[0.0, 0.0, width, height]])


def _maps(setting: Setting) -> tuple[str, Iterator[Map]]:
    """How the maps were stored before, and the maps one by one."""
    out = Folder.of(setting.source) if setting.source else None
    if out and out.exists(RUN_FILE):
        config = out.read_json(RUN_FILE)["config"]
        dtype = config["map_dtype"]
        if dtype not in _FINE or config.get("map_stride", 1) > 1:
            raise SessError(
                f"{setting.source} has maps that have lost too much to compare with; give a run "
                f"with --map-dtype {' or '.join(_FINE)} and --map-stride 1"
            )
        return dtype, (one.map for one in read_maps(out.uri))
    return "float32", _computed(setting)


def _computed(setting: Setting) -> Iterator[Map]:
    backbone = grouped(setting)
    explain = SESS(backbone, config=SESSConfig(scales=setting.scales))
    for one in photographs_of(setting, backbone)[: setting.images]:
        [found] = explain([one.read()], [one.classes])
        yield from (of_class.map.numpy() for of_class in found)

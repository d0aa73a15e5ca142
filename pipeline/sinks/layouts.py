"""NPY files of maps: the plain ones, and those that other people's programs read as they are.

``irn`` is what ``step/make_cam.py`` of IRN (Ahn et al., CVPR 2019) saves, ``psa`` what
``infer_cls.py`` of AffinityNet (Ahn and Kwak, CVPR 2018) does, ``wsol`` the score maps that
wsolevaluation (Choe et al., CVPR 2020) evaluates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate

from pipeline.files import Folder
from pipeline.images import FORMATS
from pipeline.names import safe_name
from pipeline.sinks.encode import Map, reduce_map
from pipeline.sinks.pickles import load_npy, save_npy
from sess_kernels.errors import SessError, unknown

_EPSILON = 1e-5  # of IRN and AffinityNet
_STRIDE = 4
_ENDINGS = sorted(e[1:] for e, kind in Image.registered_extensions().items() if kind in FORMATS)
_STEM = rf"(?is)([^/])\.(?:{'|'.join(_ENDINGS)})\z"


class ClassMap(Protocol):
    """The map of one class of an image, as ``pipeline.MapRecord``."""

    @property
    def class_index(self) -> int:
        """Index of the class, from 0, background not counted."""

    @property
    def score(self) -> float:
        """Score of the class."""

    @property
    def map(self) -> Map:
        """float32 (H, W) in [0, 1]."""


Records = Sequence[ClassMap]
Paths = list[str | None]


@dataclass(frozen=True)
class LayoutOptions:
    """What a layout leaves open.

    Attributes:
        dtype: Type of ``plain`` maps, ``float16`` or ``float32``.
        size: Height and width of ``wsol`` maps, which wsolevaluation wants at 224; those of the
            image if not given.
        tensors: Whether ``keys`` and ``cam`` of ``irn`` are torch tensors, as IRN's random walk
            takes them; such a file needs torch to be read.
    """

    dtype: str = "float32"
    size: int | None = None
    tensors: bool = False


def write_layout(
    folder: Folder,
    layout: str,
    image_id: str,
    records: Records,
    options: LayoutOptions | None = None,
    *,
    fold_case: bool = False,
) -> Paths:
    """Write the maps of an image; written again, the files are the same.

    Args:
        folder: Where the files go.
        layout: A name of ``LAYOUTS``.
        image_id: Id of the image. ``irn`` and ``psa`` leave the extension of an image file out of
            the file's name: ids must differ without it, see ``stems``.
        records: Its maps, at least one.
        options: What the layout leaves open.
        fold_case: As in ``names.safe_name``.

    Returns:
        The file below ``folder`` of each record's map; ``None`` where the layout leaves it out.

    Raises:
        SessError: If there is no such layout.
        OSError: If a file cannot be written.

    Example:
        >>> import tempfile
        >>> from types import SimpleNamespace as Record
        >>> maps = [Record(class_index=n, score=1, map=np.eye(8, dtype="f4")) for n in (3, 7)]
        >>> folder = Folder.of(tempfile.mkdtemp())
        >>> write_layout(folder, "psa", "2007_000027.jpg", maps)
        ['2007_000027.npy', '2007_000027.npy']
        >>> found = np.load(f"{folder.path}/2007_000027.npy", allow_pickle=True).item()
        >>> {key: map.shape for key, map in found.items()}
        {3: (8, 8), 7: (8, 8)}
    """
    if layout not in LAYOUTS:
        raise SessError(unknown("NPY layout", layout, LAYOUTS))
    named = stems(pa.array([image_id]))[0].as_py() if layout in BY_STEM else image_id
    name = safe_name(named, fold_case=fold_case)
    return LAYOUTS[layout](folder, name, records, options or LayoutOptions())


def stems(ids: pa.StringArray) -> pa.StringArray:
    """Ids without the extension of an image file, as ``irn`` and ``psa`` files are called.

    Example:
        >>> stems(pa.array(["2007_000027.jpg", "a/b.PNG", "v1.0", ".jpg"])).to_pylist()
        ['2007_000027', 'a/b', 'v1.0', '.jpg']
    """
    return pc.replace_substring_regex(ids, pattern=_STEM, replacement=r"\1")


def read_layout(content: bytes, class_index: int) -> Map:
    """The map of a class from a file of ``plain``, ``irn`` or ``psa``.

    Maps of ``irn`` are divided by 1.00001 there: to rounding they come back as they were, if
    their largest value was 1 or 0.

    Raises:
        SessError: If the file holds something else.
    """
    found: Any = load_npy(content)
    if isinstance(found, dict) and "high_res" in found:
        place = found["keys"].tolist().index(class_index)
        found = np.minimum(found["high_res"][place] * np.float32(1 + _EPSILON), 1)
    elif isinstance(found, dict):
        found = found[class_index]
    values: Map = found.astype(np.float32)
    return values


def _plain(folder: Folder, name: str, records: Records, options: LayoutOptions) -> Paths:
    """A file for each class in a folder for the image, float16 or float32 (H, W)."""
    paths: Paths = []
    for record in records:
        path = f"{name}/{record.class_index}.npy"
        with folder.writing(path) as file:
            np.save(file, record.map.astype(options.dtype))
        paths.append(path)
    return paths


def _irn(folder: Folder, name: str, records: Records, options: LayoutOptions) -> Paths:
    """A dict of ``keys``, ``cam`` and ``high_res``; each map is divided by its maximum."""
    keys = np.array([record.class_index for record in records], np.int64)
    maps = np.stack([record.map for record in records]).astype(np.float32)
    cam = np.stack([reduce_map(one, _STRIDE) for one in maps])
    found = {"keys": keys, "cam": _by_maximum(cam), "high_res": _by_maximum(maps)}
    if options.tensors:
        found |= {key: torch.from_numpy(found[key]) for key in ("keys", "cam")}
    return _save(folder, name, found, records)


def _psa(folder: Folder, name: str, records: Records, _: LayoutOptions) -> Paths:
    """A dict from class index to float32 (H, W)."""
    found = {int(record.class_index): record.map.astype(np.float32) for record in records}
    return _save(folder, name, found, records)


def _wsol(folder: Folder, name: str, records: Records, options: LayoutOptions) -> Paths:
    """The map of the class with the best score, float64 (H, W), from 0 to 1."""
    best = max(records, key=lambda record: record.score)
    values = best.map.astype(np.float64)
    if options.size:
        values = _resized(values, (options.size, options.size))
    values -= values.min()
    values /= values.max() or 1
    path = _file(name)
    with folder.writing(path) as file:
        np.save(file, values)
    return [path if record is best else None for record in records]


def _save(folder: Folder, name: str, found: dict[Any, Any], records: Records) -> Paths:
    path = _file(name)
    with folder.writing(path) as file:
        save_npy(found, file)
    return [path] * len(records)


def _file(name: str) -> str:
    """The file of an image; no folder is called as one, which the id ``a.npy/b`` would ask for."""
    *folders, last = name.split("/")
    kept = [one[:-4] + "%2Enpy" if one.endswith(".npy") else one for one in folders]
    return "/".join([*kept, f"{last}.npy"])


def _by_maximum(maps: Map) -> Map:
    found: Map = maps / (maps.max((1, 2), keepdims=True) + np.float32(_EPSILON))
    return found


def _resized(values: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    whole = torch.from_numpy(values)[None, None]
    found = interpolate(whole, size, mode="bilinear", align_corners=False, antialias=True)
    resized: NDArray[np.float64] = found[0, 0].numpy()
    return resized


LAYOUTS: dict[str, Callable[[Folder, str, Records, LayoutOptions], Paths]] = {
    "plain": _plain,
    "irn": _irn,
    "psa": _psa,
    "wsol": _wsol,
}
"""Writer of the files of one image by the name of the layout."""

BY_STEM = ("irn", "psa")
"""Layouts whose files are called as the image without its extension."""

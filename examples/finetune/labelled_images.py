"""Labelled images of any source of the pipeline as a dataset of torch."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from pipeline.images import read_rgb
from pipeline.sources import SOURCES, Listed, guess, open_source
from sess_kernels.backbones import Preprocessing
from sess_kernels.errors import SessError, one_line, unknown

NEITHER = -1.0
"""Target of a label that is left out of the loss and of the judgement."""

_LARGER = 256 / 224  # smaller side of a photograph that is cropped, of the input's


class Sample(NamedTuple):
    """An image: its labels, and those that count neither for nor against."""

    uri: str
    labels: frozenset[str]
    neither: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Images(Dataset[tuple[Tensor, Tensor] | None]):
    """Images and their targets (C,): 1, 0 or ``NEITHER``; None for one that cannot be read.

    Raises:
        SessError: If a label is none of the classes.
    """

    samples: Sequence[Sample]
    classes: Mapping[str, int]
    transform: v2.Transform

    def __post_init__(self) -> None:
        for uri, labels, neither in self.samples:
            for name in sorted(labels | neither):
                if name not in self.classes:
                    raise SessError(f"{uri}: {unknown('class', name, self.classes)}")

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor] | None:
        uri, labels, neither = self.samples[number]
        target = torch.zeros(len(self.classes))
        target[[self.classes[name] for name in sorted(neither)]] = NEITHER
        target[[self.classes[name] for name in sorted(labels)]] = 1
        try:
            pixels = torch.tensor(read_rgb(uri)).permute(2, 0, 1)
        except Exception as error:  # a decoder may raise anything
            print(f"{uri} is left out: {one_line(error)}", file=sys.stderr, flush=True)
            return None
        return self.transform(pixels), target


def read_samples(source: str) -> tuple[list[Sample], list[str]]:
    """The labelled images of a source, and the names of its classes in its order.

    Raises:
        SessError: If the source cannot be read, or no image has a label.
    """
    listed = Listed()
    if _is_voc(source):  # read twice: with the labels of difficult objects and without
        sure = {one: labels for one, _, labels in _rows(_with(source, "difficult=0"), Listed())}
        rows = _rows(_with(source, "difficult=1"), listed)
        none: frozenset[str] = frozenset()
        of_image = [(uri, sure.get(one, none), labels) for one, uri, labels in rows]
        found = [Sample(uri, kept, labels - kept) for uri, kept, labels in of_image]
    else:
        found = [Sample(uri, labels) for _, uri, labels in _rows(source, listed)]
    for fault in listed.faults:
        print(fault, file=sys.stderr)
    samples = [one for one in found if one.labels or one.neither]
    if not samples:
        raise SessError(f"{source}: no image has a label; give a source that has, or a table")
    if len(samples) < len(found):
        print(f"{source}: {len(found) - len(samples)} images have no label and are left out")
    said = set[str]().union(*(one.labels | one.neither for one in samples))
    return samples, _class_names(said, listed.classes)


def _class_names(said: set[str], ids: Mapping[str, int]) -> list[str]:
    if all(map(str.isdecimal, said)):  # indices
        return [str(index) for index in range(1 + max(map(int, said)))]
    return sorted(ids, key=ids.__getitem__) or sorted(said)


def _rows(source: str, listed: Listed) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Id, file and labels of every image."""
    for table in open_source(source, listed):
        for row in table.to_pylist():
            yield row["image_id"], row["uri"], frozenset(row["labels"] or ())


def _is_voc(source: str) -> bool:
    kind = source.partition(":")[0]
    return (kind if kind in SOURCES else guess(source)) == "voc"


def _with(source: str, option: str) -> str:
    prefix = "" if source.startswith("voc:") else "voc:"
    return f"{prefix}{source}{'&' if '?' in source else '?'}{option}"


def transform(wanted: Preprocessing, *, random: bool) -> v2.Transform:
    """Pixels (3, H, W) to an input (3, S, S): a random crop, or the whole image squeezed."""
    size, kind = wanted.input_size, v2.InterpolationMode(wanted.interpolation)
    squeezed = [v2.Resize((size, size), kind)]
    cropped = [v2.Resize(round(size * _LARGER), kind), v2.RandomCrop(size)]
    return v2.Compose(
        [
            *([*cropped, v2.RandomHorizontalFlip()] if random else squeezed),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(wanted.mean, wanted.std),
        ]
    )

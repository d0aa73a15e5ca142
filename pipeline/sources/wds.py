"""WebDataset: tars in which the files of a sample lie side by side and share a name."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.images import EXTENSIONS
from pipeline.members import TarRange
from pipeline.sources.listed import Listed
from pipeline.sources.patterns import files_of
from pipeline.sources.rows import Row, tables_of
from pipeline.sources.tars import Member, Tar
from sess_kernels.errors import SessError, one_line

_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)", re.DOTALL)  # key and extension
_CLASS = ("cls", "cls.txt")
_LABEL_KEYS = ("label", "labels", "cls")
_MAX_LABEL = 2**24  # bytes of a file of labels
_COMPRESSED = re.compile(r"\.(tgz|tbz2?|txz|tar\.\w+)$", re.IGNORECASE)


def read_wds(path: str, listed: Listed) -> Iterator[pa.Table]:
    """Images of WebDataset tars, in their order there; the data of images is not read.

    A sample is what lies side by side and has the same key, its path up to the first dot of the
    name. Its image is the file with the extension of an image (``.jpg``, ``.png``, ``.webp``, ...;
    ``.seg.png`` is none), its labels are those of ``.cls`` (or ``.cls.txt``: an index or a name),
    else of ``label``, ``labels`` or ``cls`` in ``.json``; -1 is no label.

    Keys may come again in other tars, so an id is the tar's path below the folder of the pattern,
    without ``.tar``, then the key and the extension: ``train-0000/n01440764_10026.jpg``.

    Args:
        path: A tar that is not compressed; a folder of such; or a pattern such as
            ``s3://bucket/train-{0000..0127}.tar`` or ``sets/*/*.tar``.
        listed: Is told of tars that are missing or cut short (the rows before stay), of samples
            without an image, and how many came twice in a tar.

    Raises:
        SessError: If there is no image, one of the tars is compressed, or the store cannot be read.
    """
    empty = True
    for table in tables_of(_rows(path, listed)):
        empty = False
        yield table
    if empty:
        said = f": {listed.faults[0]}" if listed.faults else "; check the path or the pattern"
        raise SessError(f"wds:{path} holds no image{said}")


def _rows(path: str, listed: Listed) -> Iterator[Row]:
    folder, files = files_of(path, ".tar")
    reader = _Reader(listed)
    for uri in files:
        if not uri.lower().endswith(".tar"):
            raise SessError(_no_tar(uri))
        try:
            with Tar(uri) as tar:
                yield from reader.rows(tar, uri, uri[len(folder) + 1 : -len(".tar")])
        except tarfile.TarError as error:
            listed.fault(f"{uri}: {one_line(error)}; what is from there on is left out")
        except FileNotFoundError:
            listed.fault(f"{uri} does not exist; it is left out")
        except OSError as error:
            raise SessError(f"{uri} cannot be read: {one_line(error)}") from error


def _no_tar(uri: str) -> str:
    if _COMPRESSED.search(uri):
        return f"{uri} is compressed, so its images cannot be read one by one; decompress it"
    return f"{uri} is no .tar file; give the tars of a WebDataset"


@dataclass
class _Sample:
    """Files that share a key: of each kind the first."""

    key: str
    image: Member | None = None
    ending: str = ""
    labels: dict[str, list[str]] = field(default_factory=dict)


class _Reader:
    """From the members of tars to rows.

    Rows before the first label of the source carry none, those after it an empty list, so that one
    look at the first table tells whether there are labels.
    """

    def __init__(self, listed: Listed) -> None:
        self._listed = listed
        self._labelled = False

    def rows(self, tar: Tar, uri: str, prefix: str) -> Iterator[Row]:
        self._tar, self._uri = tar, uri
        keys: set[str] = set()
        for sample in self._samples():
            again = sample.key in keys
            keys.add(sample.key)
            if sample.image is None:
                apart = "; the files of a sample must lie side by side" if again else ""
                self._fault(f"sample {sample.key!r} has no image{apart}; it is left out")
            elif again:
                self._listed.duplicates += 1
            else:
                place = TarRange(uri, sample.image.offset, sample.image.size)
                name = f"{prefix}/{sample.key}.{sample.ending}"
                yield Row(name, place.uri, self._labels(sample))

    def _samples(self) -> Iterator[_Sample]:
        sample: _Sample | None = None
        damage: tarfile.TarError | None = None
        members = self._tar.members()
        while True:
            try:
                member = next(members, None)
            except tarfile.TarError as error:  # told when what came before has been handed on
                member, damage = None, error
            if member is None:
                break
            found = _NAME.fullmatch(member.name.removeprefix("./"))
            if found is None:
                continue  # it has no key
            if "\0" in found[0]:
                self._fault(f"the name {found[0]!r} holds NUL; it is left out")
                continue
            if sample is None or sample.key != found[1]:
                if sample is not None:
                    yield sample
                sample = _Sample(found[1])
            self._take(sample, member, found[2])
        if sample is not None:
            yield sample
        if damage is not None:
            raise damage

    def _take(self, sample: _Sample, member: Member, ending: str) -> None:
        """A file of a sample: its image, its labels or something else."""
        kind = ending.lower()
        if f".{kind}" in EXTENSIONS:
            if sample.image is None:
                sample.image, sample.ending = member, ending
            else:
                self._fault(f"sample {sample.key!r} has a second image .{ending}; it is left out")
        elif kind in _CLASS or kind == "json":
            try:
                if member.size > _MAX_LABEL:
                    raise ValueError(f"{member.size} bytes are no labels")
                sample.labels[kind] = _labels_in(kind, self._tar.read(member))
            except (ValueError, RecursionError) as error:
                said = f"the labels are left out: {one_line(error)}"
                self._fault(f"{member.name}: {said}")

    def _labels(self, sample: _Sample) -> Sequence[str] | None:
        found = next(
            (sample.labels[kind] for kind in (*_CLASS, "json") if sample.labels.get(kind)), []
        )
        self._labelled = self._labelled or bool(found)
        return found if self._labelled else None

    def _fault(self, said: str) -> None:
        self._listed.fault(f"{self._uri}: {said}")


def _labels_in(kind: str, content: bytes) -> list[str]:
    """Labels of a ``.cls`` or ``.json``.

    Raises:
        ValueError: If it is no text or no JSON, or a label is neither text nor a whole number.
    """
    if kind != "json":
        return [text for part in content.decode().split("|") if (text := part.strip()) not in _NONE]
    told = json.loads(content)
    if not isinstance(told, dict):
        return []
    said: Any = next((told[key] for key in _LABEL_KEYS if told.get(key) is not None), [])
    texts = (_text(one) for one in (said if isinstance(said, list) else [said]) if one is not None)
    return [text for text in texts if text not in _NONE]


_NONE = ("", "-1")


def _text(label: Any) -> str:
    if isinstance(label, bool) or not isinstance(label, int | str):
        raise ValueError(f"a label is text or a number, not {label!r:.40}")
    text = str(label).strip()
    text.encode()  # JSON may hold halves of characters, which are no text
    return text

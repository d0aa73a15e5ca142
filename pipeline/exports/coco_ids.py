"""Ids of images and categories in a COCO JSON file that exports must agree with."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.exports.config import ExportConfig
from pipeline.sources.guess import guess
from pipeline.sources.options import with_options
from pipeline.stores import read_bytes
from sess_kernels.errors import SessError, one_line

_KEPT = frozenset({"images", "categories", "id", "file_name", "coco_url", "name"})


@dataclass(frozen=True)
class CocoIds:
    """Ids of a COCO file.

    Attributes:
        file: The file; empty if there is none, and images are numbered from 1.
        images: Id of each file name, and of its last part where that is of one image alone.
        categories: Id of each category by its name in lower case.
    """

    file: str = ""
    images: dict[str, Any] = field(default_factory=dict)
    categories: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, config: ExportConfig, source: str) -> CocoIds:
        """The ids that an export uses.

        Args:
            config: Its settings; ``ids_from`` wins.
            source: Source of the run.

        Raises:
            SessError: If there should be a file and it cannot be read.
        """
        if config.ids_from:
            return _read(config.ids_from)
        kind, colon, path = source.partition(":")
        if not colon or path.startswith("//"):
            kind, path = guess(source), source
        if kind != "coco":
            return cls()
        return _read(with_options("coco", path, ["images"])[0])

    def image(self, image_id: str, uri: str) -> Any:
        """Id of an image, found by its own id or the name of its file; ``None`` if not listed."""
        names = (image_id, posixpath.basename(image_id), posixpath.basename(uri))
        found = (self.images.get(name) for name in names)
        return next((one for one in found if one is not None), None)

    def lacks(self, names: Sequence[str]) -> list[str]:
        """Names of classes that the file does not have."""
        return [name for name in names if name.lower() not in self.categories]

    def of_classes(self, names: Sequence[str]) -> list[int]:
        """Category ids of classes: the file's if it has all of them, else from 1 on."""
        if self.lacks(names):
            return list(range(1, len(names) + 1))
        return [self.categories[name.lower()] for name in names]


def _read(file: str) -> CocoIds:
    images: dict[str, Any] = {}
    categories: dict[str, int] = {}
    try:
        stored = json.loads(read_bytes(file), object_pairs_hook=_lean)
        for one in stored["images"]:
            images.setdefault(_file_name(one), one["id"])
        for one in stored.get("categories", []):
            categories.setdefault(one["name"].strip().lower(), one["id"])
    except OSError as error:
        raise SessError(
            f"{file}, whose ids the export takes, cannot be read: {one_line(error)}; "
            "say where it is with --ids-from"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SessError(f"{file} is no COCO JSON of images with ids: {one_line(error)}") from error
    return CocoIds(file, _last_parts(images) | images, categories)


def _lean(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without what no id is in: annotations are nearly all of a file."""
    return {key: value for key, value in pairs if key in _KEPT}


def _file_name(one: dict[str, Any]) -> str:
    """As the source ``coco:`` has it, the id of a row; LVIS gives an address."""
    return str(one.get("file_name") or "/".join(one["coco_url"].split("/")[-2:]))


def _last_parts(images: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, number in images.items():
        last = posixpath.basename(name)
        found[last] = None if last in found else number
    return found

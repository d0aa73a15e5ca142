"""Ids of images that are written in several ways: with folders or not, with an ending or not."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from pipeline.sources.folder import is_image


def without_ending(path: str) -> str:
    """The path of an image without the ending of its kind.

    Example:
        >>> without_ending("val/1.5.JPEG"), without_ending("val/1.5")
        ('val/1.5', 'val/1.5')
    """
    return posixpath.splitext(path)[0] if is_image(path) else path


def stem(image_id: str) -> str:
    """Name of an image's file without its ending.

    Example:
        >>> stem("JPEGImages/2007_000027.jpg")
        '2007_000027'
    """
    return without_ending(posixpath.basename(image_id))


class ImageNames:
    """Places of images by their ids.

    An id is found as it is written; else, where it is of one image alone, if one of both paths is
    the end of the other, whatever the files' endings.

    Args:
        names: Names of the images, distinct.

    Example:
        >>> names = ImageNames(["val/1.jpg", "val/2.jpg", "train/2.jpg"])
        >>> [names.find(one) for one in ("val/2.jpg", "1.jpg", "coco/val/1.jpg", "2.jpg", "a/1")]
        [1, 0, 0, None, None]
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._places: dict[str, int] = {}
        self._by_stem: dict[str, list[str]] = {}
        for place, name in enumerate(map(posixpath.normpath, names)):
            self._places[name] = place
            self._by_stem.setdefault(stem(name), []).append(name)

    def find(self, image_id: str) -> int | None:
        """Place of an image; None if it is not there."""
        image_id = posixpath.normpath(image_id)
        if image_id in self._places:
            return self._places[image_id]
        same = [one for one in self._by_stem.get(stem(image_id), []) if _meet(one, image_id)]
        return self._places[same[0]] if len(same) == 1 else None


def _meet(one: str, other: str) -> bool:
    first, second = (f"/{without_ending(path)}" for path in (one, other))
    return first.endswith(second) or second.endswith(first)

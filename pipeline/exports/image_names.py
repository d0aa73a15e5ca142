"""File names of images in an export: without their extension, for readers pair files by stem."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from pipeline.images import EXTENSIONS
from pipeline.names import safe_name
from sess_kernels.errors import SessError

_COMMON = ".jpg"


class ImageNames:
    """Relative names of the images of an export.

    Ids that are absolute lose the folder that all of them lie in.

    Args:
        ids: All image ids.
        fold_case: Whether ``A`` and ``a`` are one file where the names are used.

    Attributes:
        fold_case: Likewise.

    Example:
        >>> names = ImageNames(["/data/a/1.jpg", "/data/b/2.jpg"])
        >>> names.stem("/data/b/2.jpg"), names.below("/data/a/1.jpg")
        ('b/2', 'a/1.jpg')
    """

    def __init__(self, ids: Iterable[str], fold_case: bool = False) -> None:
        self._above = _folder_above(ids)
        self.fold_case = fold_case

    def stem(self, image_id: str) -> str:
        """Its name without the extension of an image."""
        stem, extension = posixpath.splitext(self.below(image_id))
        name = stem if extension.lower() in EXTENSIONS else stem + extension
        return safe_name(name, fold_case=self.fold_case)

    def check(self, ids: Iterable[str]) -> None:
        """Refuse images that would share a file.

        Raises:
            SessError: With the first two of them.
        """
        seen: dict[str, str] = {}
        for image_id in ids:
            other = seen.setdefault(self.stem(image_id), image_id)
            if other != image_id:
                raise SessError(
                    f"{other} and {image_id} would share the file name {self.stem(image_id)}; "
                    "rename one of them, or export each to a folder of its own"
                )

    def below(self, image_id: str) -> str:
        """Its id without the folder that all of them lie in."""
        return image_id.removeprefix(self._above)


def with_extension(image_id: str, uri: str) -> str:
    """An id that ends in the extension of an image: as it is, if it does.

    Example:
        >>> with_extension("2007_000027", "/VOC2012/JPEGImages/2007_000027.jpg")
        '2007_000027.jpg'
    """
    has = posixpath.splitext(image_id)[1].lower() in EXTENSIONS
    return image_id if has else image_id + photograph_extension(image_id, uri)


def photograph_extension(image_id: str, uri: str) -> str:
    """The extension of a photograph, in lower case; ``.jpg`` if neither id nor URI tells.

    Example:
        >>> photograph_extension("cat.PNG", "/photos/cat.PNG"), photograph_extension("7", "x.tar")
        ('.png', '.jpg')
    """
    for name in (image_id, uri):
        extension = posixpath.splitext(name)[1].lower()
        if extension in EXTENSIONS:
            return extension
    return _COMMON


def _folder_above(ids: Iterable[str]) -> str:
    """The folder that all ids lie in, if they are absolute, with its slash."""
    least = most = ""
    for image_id in ids:
        if not (image_id.startswith("/") or "://" in image_id):
            return ""
        least = min(least or image_id, image_id)
        most = max(most, image_id)
    # what the first and the last in order share, all between share
    return posixpath.commonprefix([least, most]).rpartition("/")[0] + "/" if least else ""

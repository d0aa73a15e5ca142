"""Files that a pattern names: a path, braces as in a shell, stars, or a folder."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from itertools import islice

import pyarrow.fs as pa_fs
from braceexpand import braceexpand

from pipeline.files import Folder
from pipeline.stores import retrying
from sess_kernels.errors import SessError, one_line

_MAGIC = re.compile(r"[{*?\[]")
_STARS = re.compile(r"[*?\[]")
_MOST = 1_000_000  # files


def files_of(pattern: str, ending: str) -> tuple[str, Iterator[str]]:
    """The files of a pattern, in the order of the braces and, of stars and folders, of the names.

    What exists by the name that the pattern is is taken as it is. Stars do not match slashes.

    Args:
        pattern: A file; a folder, whose files of the ending are meant; or braces (``{0..9}``,
            ``{train,val}``) and stars.
        ending: As in ``.tar``.

    Returns:
        The folder that all of them are in or below, and their URIs; those that only braces name
        need not exist.

    Raises:
        SessError: If the braces do not close.

    Example:
        >>> folder, files = files_of("/data/set/{a,b}-{08..10}.tar", ".tar")
        >>> folder, list(files)[2]
        ('/data/set', '/data/set/a-10.tar')
    """
    whole = Folder.of(pattern)
    magic = _MAGIC.search(whole.uri)
    if magic is None or _kind(whole) != pa_fs.FileType.NotFound:
        if _kind(whole) == pa_fs.FileType.Directory:
            names = (name for name in whole.names() if name.lower().endswith(ending))
            return whole.uri, (f"{whole.uri}/{name}" for name in names)
        return whole.uri.rpartition("/")[0], iter([whole.uri])
    return whole.uri[: magic.start()].rpartition("/")[0], _expanded(whole.uri)


def below(folder: Folder) -> list[str]:
    """Paths of all files below a folder, relative to it and sorted; what is hidden is left out.

    Raises:
        OSError: If it cannot be read.
    """
    selector = pa_fs.FileSelector(folder.path, recursive=True, allow_not_found=True)
    found = retrying(lambda: folder.files.get_file_info(selector))
    skip = len(folder.path) + 1
    names = [one.path[skip:] for one in found if one.type == pa_fs.FileType.File]
    return sorted(name for name in names if "/." not in f"/{name}")


def _expanded(pattern: str) -> Iterator[str]:
    try:
        paths = braceexpand(pattern) if "{" in pattern else iter([pattern])
    except ValueError:
        raise SessError(f"{pattern}: the braces do not close; write {{0000..0099}}") from None
    for n_files, path in enumerate(islice(paths, _MOST + 1)):
        if n_files == _MOST:
            raise SessError(f"{pattern} names more than {_MOST} files; is it right?")
        stars = _STARS.search(path)
        if stars is None:
            yield path
            continue
        folder = Folder(path[: stars.start()].rpartition("/")[0])
        wanted = path[len(folder.uri) + 1 :].split("/")
        for name in _listed(folder, deep=len(wanted) > 1):
            parts = name.split("/")
            if len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted)):
                yield f"{folder.uri}/{name}"


def _listed(folder: Folder, deep: bool) -> list[str]:
    try:
        return below(folder) if deep else folder.names()
    except OSError as error:
        raise SessError(f"folder {folder.uri} cannot be read: {one_line(error)}") from error


def _kind(folder: Folder) -> pa_fs.FileType:
    return retrying(lambda: folder.files.get_file_info(folder.path)).type

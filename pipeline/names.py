"""File names from image ids: they stay inside their folder, and no two ids share one."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

_MAX_NAME = 200  # bytes of a part; file systems end at 255, and endings are added
_MAX_PATH = 800  # bytes; a store ends at 1,024, and folders come before
_CUT = "%2F"  # before a hash; no part holds it, for slashes are taken out first
_MAP_FILE = re.compile(r"[0-9]+\.npy")  # as maps in the folder of an id are called


def safe_name(image_id: str, *, fold_case: bool = False) -> str:
    """A relative path for an image id that stays inside its folder, different for each id.

    Plain ids keep their look; what a path cannot hold is percent-encoded, and what is too long
    ends in its hash. The path is that of a folder: no part of it is called as a map in there.

    Args:
        image_id: Any text.
        fold_case: Encode capitals too: where ``A`` and ``a`` name one file, ids would share one.

    Example:
        >>> safe_name("train/cat 1.jpg"), safe_name("../etc"), safe_name("/a")
        ('train/cat 1.jpg', '%2E%2E/etc', '%2F/a')
    """
    path = "/".join(_safe_part(part, fold_case) for part in image_id.split("/"))
    return path if len(path) <= _MAX_PATH else f"{_CUT}{_hash(path)}"


def _safe_part(part: str, fold_case: bool) -> str:
    if not part:
        return "%2F"  # nothing else becomes this: a percent sign in an id is encoded itself
    if set(part) == {"."} or _MAP_FILE.fullmatch(part):
        return part.replace(".", "%2E")
    name = quote(part, safe=" !#$&'()+,;=@[]{}~", errors="surrogateescape")
    if fold_case:
        name = re.sub("%..|[A-Z]", _encoded, name)
    if len(name) > _MAX_NAME:
        digest = _hash(name)
        name = f"{name[: _MAX_NAME - len(_CUT) - len(digest)]}{_CUT}{digest}"
    return name


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _encoded(found: re.Match[str]) -> str:
    """A capital as its code; what is a code already stays."""
    return found[0] if len(found[0]) > 1 else f"%{ord(found[0]):02X}"

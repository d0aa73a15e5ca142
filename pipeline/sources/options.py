"""Options of a source: ``coco:ANN.json?images=DIR``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sess_kernels.errors import SessError, unknown

_OPTIONS = re.compile(r"(?P<path>.*)\?(?P<options>\w+=[^&?]*(&\w+=[^&?]*)*)", re.DOTALL)


def with_options(kind: str, path: str, known: Iterable[str]) -> tuple[str, dict[str, str]]:
    """The path of a source and what stands behind its question mark.

    Args:
        kind: Kind of the source, for messages.
        path: What stands behind ``KIND:``.
        known: Names of its options.

    Raises:
        SessError: If an option is unknown.

    Example:
        >>> with_options("coco", "s3://bucket/ann.json?images=s3://bucket/train", ["images"])
        ('s3://bucket/ann.json', {'images': 's3://bucket/train'})
        >>> with_options("coco", "why?.json", ["images"])
        ('why?.json', {})
    """
    found = _OPTIONS.fullmatch(path)
    if found is None:
        return path, {}
    pairs = (pair.partition("=") for pair in found["options"].split("&"))
    options = {name: value for name, _, value in pairs}
    for name in options:
        if name not in known:
            raise SessError(f"{kind}:{path}: {unknown('option', name, known)}")
    return found["path"], options

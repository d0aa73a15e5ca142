"""A JSON list that is written item by item, so that it never is in memory."""

from __future__ import annotations

import json
from typing import Any, BinaryIO


class JsonList:
    r"""Items of a JSON list, a line each.

    Args:
        file: File to write to.
        before: What stands before the list.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> items = JsonList(file, b'{"a": ')
        >>> items.add(1), items.add(2), items.end(b"}")
        (None, None, None)
        >>> file.getvalue()
        b'{"a": [\n1,\n2\n]}\n'
    """

    def __init__(self, file: BinaryIO, before: bytes = b"") -> None:
        self._file, self._first = file, True
        file.write(before + b"[")

    def add(self, item: Any) -> None:
        """Write an item."""
        self._file.write((b"\n" if self._first else b",\n") + json.dumps(item).encode())
        self._first = False

    def end(self, after: bytes = b"") -> None:
        """End the list, and what holds it."""
        self._file.write(b"\n]" + after + b"\n")

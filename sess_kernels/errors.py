"""Errors that a user can act on: one line that says what, where, why and what next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SessError(ValueError):
    """A fault in what the user gave; the message is one line and says what to do."""


class ConfigError(SessError):
    """One or several faults of a configuration, told together.

    Args:
        faults: One sentence for each fault.

    Example:
        >>> str(ConfigError(["scales must be at least 1", "theta must be at least 0"]))
        'scales must be at least 1; theta must be at least 0'
    """

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[str, ...]]]:
        return type(self), (self.faults,)


def unknown(what: str, got: str, known: Iterable[str]) -> str:
    """Say that a name is not known, with the nearest names that are.

    Example:
        >>> unknown("method", "gradcm", ["gradcam", "rise"])
        "unknown method 'gradcm'; did you mean 'gradcam'? known: gradcam, rise"
    """
    names = list(known)
    if not names:
        return f"unknown {what} {got!r}; it has none"
    near = difflib.get_close_matches(got, names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ";"
    listed = ", ".join(names[:12]) + (f", ... ({len(names)} in all)" if len(names) > 12 else "")
    return f"unknown {what} {got!r}{hint} known: {listed}"


def one_line(error: BaseException) -> str:
    r"""The message of any exception folded into one line.

    Example:
        >>> one_line(OSError("image file is truncated\n(3 bytes not processed)"))
        'image file is truncated (3 bytes not processed)'
    """
    return " ".join(str(error).split()) or type(error).__name__

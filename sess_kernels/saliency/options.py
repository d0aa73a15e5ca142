"""Options of base methods as a command line or a file gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from sess_kernels.errors import SessError, unknown

_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_options(method: str, kind: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a method as values of the types of its fields.

    Args:
        method: Name of the method, for messages.
        kind: Its class, a dataclass whose fields have defaults.
        options: Names, with ``-`` or ``_``, and values or their text.

    Raises:
        SessError: If an option is unknown or has another type.

    Example:
        >>> from sess_kernels.saliency.rise import RISE
        >>> read_options("rise", RISE, {"n-masks": "50", "p": "0.25"})
        {'n_masks': 50, 'p': 0.25}
    """
    known = {field.name: field for field in fields(kind)}
    found = {}
    for given, value in options.items():
        name = given.replace("-", "_")
        if name not in known:
            raise SessError(unknown(f"option of method {method}", name, known))
        default = known[name].default
        assert default is not MISSING
        try:
            found[name] = _read(value, str(known[name].type), default)
        except (TypeError, ValueError):
            raise SessError(
                f"option {name} of method {method} must be {known[name].type} but got {value!r}"
            ) from None
    return found


def _read(value: Any, kind: str, default: Any) -> Any:
    """A value as the type of a field, ``kind`` as it is written there."""
    if value is None or str(value).lower() == "none":
        if default is None:
            return None
        raise ValueError
    if kind.startswith("tuple"):
        parts = value.split(",") if isinstance(value, str) else value
        return tuple(
            _number(part) for part in (parts if isinstance(parts, list | tuple) else [parts])
        )
    if kind.startswith("bool"):
        return value if isinstance(value, bool) else _truth(value)
    if kind.startswith("int"):
        return _whole(value)
    return _number(value) if kind.startswith("float") else str(value)


def _truth(value: Any) -> bool:
    if str(value).lower() not in _TRUTH:
        raise ValueError
    return _TRUTH[str(value).lower()]


def _whole(value: Any) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError
    return int(number)


def _number(value: Any) -> float:
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    return number

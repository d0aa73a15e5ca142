"""``python -m jobs bench`` where torch and its kin are all that is installed.

Flags and their help come from the signature and the docstring of ``jobs.bench.bench``, which the
whole command line goes by too.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

_EXIT_BAD_INPUT, _EXIT_INTERRUPTED = 2, 130  # as of jobs.cli, which cannot be imported here
_INSTALL = "`pip install .` brings it"


def main(argv: Sequence[str], missing: str) -> int:
    """Run ``bench`` and print JSON; for any other verb one line that says what is missing.

    Args:
        argv: The arguments, the verb first.
        missing: The package that the whole command line lacks.

    Returns:
        The exit code: 0 done, 1 done but for rows that failed, 2 bad input, 130 interrupted.
    """
    verb, *flags = argv or ("",)
    if verb != "bench":
        return _fault(f"package {missing} is missing: only `bench` runs without it; {_INSTALL}")
    try:
        from jobs.bench import bench

        given = parser_of(bench, f"Package {missing} is missing: JSON alone.").parse_args(flags)
        return bench(**vars(given) | {"json": True})
    except ModuleNotFoundError as error:
        return _fault(f"package {error.name} is missing; {_INSTALL}")
    except ValueError as error:  # a SessError, which is one
        return _fault(" ".join(str(error).split()))
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED


def parser_of(verb: Callable[..., object], about: str = "") -> argparse.ArgumentParser:
    """A parser of the keyword arguments of a verb; it leaves out those that are not given.

    Args:
        verb: A function with type hints and a docstring in Google's style.
        about: What to say below the flags.

    Example:
        >>> from jobs.bench import bench
        >>> vars(parser_of(bench).parse_args(["--what", "memory", "plan", "--rows", "7"]))
        {'what': ['memory', 'plan'], 'rows': 7}
    """
    described = inspect.cleandoc(verb.__doc__ or "")
    parser = _Parser(
        prog=f"python -m jobs {verb.__name__}",
        description=described.partition("\n")[0],
        epilog=about,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    helps, hints = _helps(described), get_type_hints(verb)
    for name in inspect.signature(verb).parameters:
        said = helps[name].replace("%", "%%")
        parser.add_argument(f"--{name.replace('_', '-')}", help=said, **_kind(hints[name]))
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _kind(hint: Any) -> dict[str, Any]:
    """What argparse wants for a type: a flag, several texts, or one value that may be absent."""
    kinds = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    [kind] = [one for one in kinds if one is not NoneType]
    if kind is bool:
        return {"action": "store_true"}
    if get_origin(kind) is tuple:
        return {"nargs": "+", "action": "extend"}
    if kind not in (str, int, float, Path):
        raise TypeError(f"no flag can be made of {hint}")
    return {"type": kind}


def _helps(described: str) -> dict[str, str]:
    """The descriptions of the arguments, each on one line."""
    listed = re.split(r"\n(?=\S)", described.partition("Args:\n")[2])[0]
    found = re.split(r"^ {4}(\w+): ", listed, flags=re.MULTILINE)[1:]
    return {
        name: " ".join(text.split()) for name, text in zip(found[::2], found[1::2], strict=True)
    }


def _fault(message: str) -> int:
    print(f"sess: {message}", file=sys.stderr)
    return _EXIT_BAD_INPUT

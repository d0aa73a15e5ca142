"""A call in a process of its own, and what it and all processes that it starts use meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np

from sess_kernels.errors import SessError

P = ParamSpec("P")
T = TypeVar("T")

_PROC = Path("/proc")
_EVERY_SECONDS = 0.1
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PARENT, _USER, _SYSTEM, _STARTED, _PAGES = 1, 11, 12, 19, 21  # fields of stat behind the name


@dataclass(frozen=True)
class Use:
    """What a process and all that it has started use.

    Attributes:
        time: Seconds since the epoch.
        cpu_s: Seconds of CPU since the call began, of all processes, ended ones among them.
        own_cpu_s: Those of the process of the call alone.
        own_bytes: Memory that the process of the call holds.
    """

    time: float
    cpu_s: float
    own_cpu_s: float
    own_bytes: int


def apart(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a call returns, in a new process of its own.

    Example:
        >>> apart(sum, range(4))
        6
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(call, *args, **kwargs).result()


def watched(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, list[Use]]:
    """What a call returns, and what it used about ten times a second, the last one at its end.

    Raises:
        SessError: If the system has no ``/proc``.

    Example:
        >>> value, uses = watched(sum, range(10_000_000))
        >>> value, uses[-1].cpu_s > 0, uses[-1].own_bytes > 1e6
        (49999995000000, True, True)
    """
    if not (_PROC / "self/stat").exists():
        raise SessError("this benchmark reads /proc; run it on Linux")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        seen = _Tree(process.submit(os.getpid).result())
        result = process.submit(call, *args, **kwargs)
        uses = [seen.use()]
        while wait([result], _EVERY_SECONDS).not_done:
            uses.append(seen.use())
        uses.append(seen.use())
        return result.result(), uses


def cpu_between(uses: list[Use], start: float, end: float) -> float:
    """Seconds of CPU of all processes between two times.

    Example:
        >>> uses = [Use(0.0, 0.0, 0.0, 0), Use(2.0, 3.0, 0.0, 0)]
        >>> cpu_between(uses, 0.0, 1.0)
        1.5
    """
    times, spent = [one.time for one in uses], [one.cpu_s for one in uses]
    first, last = np.interp([start, end], times, spent)
    return float(last - first)


class _Tree:
    """A process and all that descend from it; what ended ones used is kept as last seen."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._ticks: dict[tuple[int, int], int] = {}  # by process, and when it started
        self._living: set[int] = set()
        self._first = Use(0.0, 0.0, 0.0, 0)
        self._first = self.use()

    def use(self) -> Use:
        """What all of them have used since the first look."""
        now, found = time.time(), _processes()
        living = {self._root} | (self._living & found.keys())  # those whose parent has ended too
        while more := {pid for pid, one in found.items() if one[_PARENT] in living} - living:
            living |= more
        self._living = living
        for pid in living & found.keys():
            one = found[pid]
            self._ticks[pid, one[_STARTED]] = one[_USER] + one[_SYSTEM]
        root = found.get(self._root, [0] * (_PAGES + 1))
        everyone, own = sum(self._ticks.values()) * _TICK, (root[_USER] + root[_SYSTEM]) * _TICK
        everyone, own = everyone - self._first.cpu_s, own - self._first.own_cpu_s
        return Use(now, everyone, own, root[_PAGES] * _PAGE)


def _processes() -> dict[int, list[int]]:
    """Numbers of every process, in the order of ``/proc/PID/stat``, its state as 0."""
    found = {}
    for path in _PROC.glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(") ")[2].split()
        except OSError:  # it has ended
            continue
        found[int(path.parent.name)] = [0, *map(int, fields[1 : _PAGES + 1])]
    return found

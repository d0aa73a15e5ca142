"""Bare forwards on a CPU: cores shared out to workers, device batches, huge pages."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection

import torch

from jobs.benchmarks.measure import Row, Setting, alternate, bare, compared
from sess_kernels import SESS

_PATCHES = 48  # of a core in each measurement, and a whole number of every device batch
_BATCHES = (1, 2, 3, 6, 8)  # beside the default
_HUGE_PAGES = {
    "huge pages by torch": {"THP_MEM_ALLOC_ENABLE": "1"},
    "huge pages by glibc": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
}
_END_S = 10


@dataclass(frozen=True)
class Layout:
    """How the cores are used.

    Attributes:
        workers: Processes.
        threads: Threads of each.
        batch_size: Patches of a device batch.
        environ: Environment variables that differ.
        said: What these do.
    """

    workers: int
    threads: int
    batch_size: int
    environ: Mapping[str, str] = field(default_factory=dict)
    said: str = ""

    def __str__(self) -> str:
        plural = ["worker" + "s" * (self.workers > 1), "thread" + "s" * (self.threads > 1)]
        text = f"{self.workers} {plural[0]} of {self.threads} {plural[1]}"
        return f"{text}, batches of {self.batch_size}" + (f", {self.said}" if self.said else "")


def cpu(setting: Setting) -> Iterator[Row]:
    """Time of bare forwards in other layouts over that of a run: a worker a core, its batch."""
    cores = os.cpu_count() or 1
    usual = Layout(cores, 1, setting.batch_size or SESS(setting.load()).batch_size)
    others = [replace(usual, batch_size=size) for size in _BATCHES]
    others += [replace(usual, environ=env, said=said) for said, env in _HUGE_PAGES.items()]
    if cores > 1:
        others.insert(0, replace(usual, workers=1, threads=cores))
    n_patches = cores * _PATCHES
    for other in others:
        with _workers(setting, other) as one, _workers(setting, usual) as rival:
            calls = {
                "other": partial(_run, one, n_patches),
                "usual": partial(_run, rival, n_patches),
            }
            times = alternate(calls, setting.repeats, setting.device)
        pair = times["other"], times["usual"]
        yield compared(setting, f"forwards, {other}", str(usual), pair, n_patches)


def _run(workers: Sequence[Connection], n_patches: int) -> None:
    for worker in workers:
        worker.send(n_patches // len(workers))
    for worker in workers:
        worker.recv()


@contextmanager
def _workers(setting: Setting, layout: Layout) -> Iterator[list[Connection]]:
    """Processes that run as many patches as they are told, ready to begin."""
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        ends = []
        for _ in range(layout.workers):
            mine, its = spawn.Pipe()
            process = spawn.Process(target=_work, args=(its, setting, layout), daemon=True)
            with _environ(layout.environ):
                process.start()
            its.close()
            stack.callback(process.join, _END_S)
            stack.callback(mine.close)  # which ends it, and comes before
            ends.append(mine)
        for end in ends:
            end.recv()
        yield ends


def _work(told: Connection, setting: Setting, layout: Layout) -> None:
    torch.set_num_threads(layout.threads)
    explain = SESS(setting.load(), batch_size=layout.batch_size)
    told.send(None)
    while True:
        try:
            n_patches = told.recv()
        except EOFError:
            return
        bare(explain, n_patches)()
        told.send(None)


@contextmanager
def _environ(more: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for what is started inside."""
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

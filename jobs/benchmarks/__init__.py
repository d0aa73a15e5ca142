"""Benchmarks: ratios measured side by side in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module

from jobs.benchmarks.measure import Row, Setting, machine

Benchmark = Callable[[Setting], Iterable[Row]]

_MODULES = {
    "forwards": "jobs.benchmarks.forwards",
    "rivals": "jobs.benchmarks.rivals",
    "methods": "jobs.benchmarks.methods",
    "references": "jobs.benchmarks.references",
    "precision": "jobs.benchmarks.precision",
    "search": "jobs.benchmarks.search",
    "quality": "jobs.benchmarks.quality",
    "pseudo": "jobs.benchmarks.pseudo",
    "curves": "jobs.benchmarks.curves",
    "runtimes": "jobs.benchmarks.runtimes",
    "cpu": "jobs.benchmarks.cpu",
    "memory": "jobs.benchmarks.memory",
    "device": "jobs.benchmarks.device",
    "engines": "jobs.benchmarks.engines",
    "overhead": "jobs.benchmarks.overhead",
    "scaleout": "jobs.benchmarks.scaleout",
    "driver": "jobs.benchmarks.driver",
    "plan": "jobs.benchmarks.plan",
    "sizes": "jobs.benchmarks.sizes",
    "dataset": "jobs.benchmarks.dataset",
}
"""Where each benchmark lies: a function of its own name."""


def _run(name: str, setting: Setting) -> Iterable[Row]:
    benchmark: Benchmark = getattr(import_module(_MODULES[name]), name)
    return benchmark(setting)


BENCHMARKS: dict[str, Benchmark] = {name: partial(_run, name) for name in _MODULES}
"""Benchmarks by name: a setting to rows. Each is imported when it is run: most need packages that
a machine for one of the others need not have."""

__all__ = ["BENCHMARKS", "Benchmark", "Row", "Setting", "machine"]

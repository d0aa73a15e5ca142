"""Benchmarks: ratios measured side by side in one run."""

from jobs.benchmarks.engines import engines
from jobs.benchmarks.forwards import forwards
from jobs.benchmarks.measure import Row, Setting, machine
from jobs.benchmarks.memory import memory
from jobs.benchmarks.methods import methods
from jobs.benchmarks.precision import precision
from jobs.benchmarks.references import references
from jobs.benchmarks.rivals import rivals

BENCHMARKS = {
    "forwards": forwards,
    "rivals": rivals,
    "methods": methods,
    "references": references,
    "precision": precision,
    "memory": memory,
    "engines": engines,
}
"""Benchmarks by name: a setting to rows."""

__all__ = ["BENCHMARKS", "Row", "Setting", "machine"]

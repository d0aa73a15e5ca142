"""Benchmarks: ratios measured side by side in one run."""

from jobs.benchmarks.driver import driver
from jobs.benchmarks.engines import engines
from jobs.benchmarks.forwards import forwards
from jobs.benchmarks.measure import Row, Setting, machine
from jobs.benchmarks.memory import memory
from jobs.benchmarks.methods import methods
from jobs.benchmarks.overhead import overhead
from jobs.benchmarks.plan import plan
from jobs.benchmarks.precision import precision
from jobs.benchmarks.references import references
from jobs.benchmarks.rivals import rivals
from jobs.benchmarks.scaleout import scaleout

BENCHMARKS = {
    "forwards": forwards,
    "rivals": rivals,
    "methods": methods,
    "references": references,
    "precision": precision,
    "memory": memory,
    "engines": engines,
    "overhead": overhead,
    "scaleout": scaleout,
    "driver": driver,
    "plan": plan,
}
"""Benchmarks by name: a setting to rows."""

__all__ = ["BENCHMARKS", "Row", "Setting", "machine"]

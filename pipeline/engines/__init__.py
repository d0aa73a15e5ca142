"""Engines: run the stages in this process or on Ray, with the same maps."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.engines.base import BatchDone, Job, Placement, Stopped, Watch


def engine(name: str) -> Callable[[Job, Watch], None]:
    """The engine of a name; Ray is imported only where it is used.

    Example:
        >>> engine("local").__name__
        'run_local'
    """
    if name == "ray":
        from pipeline.engines.ray import run_ray

        return run_ray
    from pipeline.engines.local import run_local

    return run_local


__all__ = ["BatchDone", "Job", "Placement", "Stopped", "Watch", "engine"]

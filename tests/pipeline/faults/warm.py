"""Imported once in the process that drivers are forked from."""

import faults.tiny  # noqa: F401
import jobs.cli  # noqa: F401
import pipeline.engines.ray  # noqa: F401

"""Names in OUT, the folder of a run."""

RUN_FILE = "run.json"
"""Configuration, versions, dataset, counts, times; see ``record``."""

PLAN_FOLDER = "plan"
"""The planned rows, ``records.PLAN_SCHEMA``; see ``scheduler``."""

MAPS_FOLDER = "maps"
"""A row for each image, ``records.RESULT_SCHEMA``; see ``commit``."""

NPY_FOLDER = "npy"
"""A file for each map, if asked for; see ``sinks``."""

CHECKPOINT_FOLDER = "checkpoint"
"""Which rows are committed; see ``commit``."""

JOURNAL_FOLDER = "journal"
"""What is being worked on; see ``journal``."""

LEASE_FILE = "driver.json"
"""Who writes here; see ``lease``."""

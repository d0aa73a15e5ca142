"""Stages that tell or delay what they do, in place of those of the pipeline."""

import os
import time
from pathlib import Path

from pipeline.sinks import EncodeWorker
from pipeline.stages import DecodeWorker

PAUSE = 0.15


class CountedDecode(DecodeWorker):
    """Leaves the flag ``decoded-ROW`` for every row."""

    def __call__(self, planned):
        found = super().__call__(planned)
        for row in planned["row"].to_pylist():
            (Path(os.environ["SESS_FAULTS"]) / f"decoded-{row}").touch()
        return found


class SlowDecode(DecodeWorker):
    """Takes its time for every row."""

    def __call__(self, planned):
        time.sleep(PAUSE * planned.num_rows)
        return super().__call__(planned)


class SlowEncode(EncodeWorker):
    """Takes its time for every row."""

    def __call__(self, results):
        time.sleep(PAUSE * results.num_rows)
        return super().__call__(results)

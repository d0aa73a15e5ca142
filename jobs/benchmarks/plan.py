"""How fast a table is planned, and in how much memory."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.benchmarks.measure import Row, Setting, spread
from jobs.benchmarks.processes import apart
from sess_kernels import SESSConfig

_CLASSES = 1000
_SIZES = 20_000
_CHUNK = 1_000_000
_BATCH_SIZE = 128
_WARM_UP = 100  # rows planned before the clock starts: libraries load parts of themselves late


def plan(setting: Setting) -> list[Row]:
    """Rows planned per second from a Parquet table that has sizes, in a process of their own."""
    rates, growths, peaks = [], [], []
    stored = 0
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.parquet"
        _write_table(table, setting.rows)
        for repeat in range(setting.repeats):
            out = Path(folder) / f"plan{repeat}"
            seconds, before, after = apart(_measure, table, out, setting)
            rates.append(setting.rows / seconds)
            growths.append((after - before) / 1e6)
            peaks.append(after / 1e6)
            stored = sum(one.stat().st_size for one in (out / "plan").iterdir())
    return [
        {
            "backbone": "any",
            "what": f"plan of {setting.rows:,} rows of a table with sizes",
            "rows_per_s": spread(rates),
            "peak_growth_mb": max(growths),
            "peak_mb": max(peaks),
            "stored_bytes_per_row": stored / setting.rows,
        }
    ]


def _write_table(path: Path, n_rows: int) -> None:
    """Images in folders of classes, of ``_SIZES`` different sizes."""
    random = np.random.default_rng(0)
    sizes = random.integers(200, 600, (_SIZES, 2), np.int32)
    names = pa.array([f"n{number:08d}" for number in range(_CLASSES)])
    writer = None
    for start in range(0, n_rows, _CHUNK):
        numbers = np.arange(start, min(start + _CHUNK, n_rows))
        classes = random.integers(0, _CLASSES, len(numbers))
        told = sizes[random.integers(0, _SIZES, len(numbers))]
        file_names = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 10, "0")
        columns = {
            "image": pc.binary_join_element_wise("train", names.take(classes), file_names, "/"),
            "image_id": file_names,
            "label": pa.array(classes).cast(pa.string()),
            "height": told[:, 0],
            "width": told[:, 1],
        }
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def _measure(table: Path, out: Path, setting: Setting) -> tuple[float, int, int]:
    """Seconds to plan a table, and the peak of memory in bytes before and after."""
    from pipeline.files import Folder
    from pipeline.labels import LabelResolver
    from pipeline.plan_rows import PlanConfig
    from pipeline.scheduler import write_plan
    from pipeline.sources import open_source

    resolve = LabelResolver([f"class {number}" for number in range(_CLASSES)], "any")
    sess, batch_size = SESSConfig(scales=setting.scales), setting.batch_size or _BATCH_SIZE
    config = PlanConfig(sess, 224, batch_size, resolve)
    rows = open_source(str(table))
    write_plan([next(rows).slice(0, _WARM_UP)], Folder.of(out / "warm-up"), config)
    before = _peak()
    began = time.perf_counter()
    write_plan(open_source(str(table)), Folder.of(out / "plan"), config)
    return time.perf_counter() - began, before, _peak()


def _peak() -> int:
    """The most memory that this process has held, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

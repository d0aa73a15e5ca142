"""The random images of an experiment, as a table that a run takes as its source."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.reproduce.settings import Data, ReproduceConfig
from pipeline import RunConfig
from pipeline.files import Folder
from pipeline.planning import Dataset

_FOLDER = "subsets"


@dataclass(frozen=True)
class Subset:
    """Images of a source, chosen by chance and the same again with the same seed.

    Attributes:
        table: Their rows, of ``records.SOURCE_SCHEMA``.
        of: Images of the source that have a label.
        source: ``table:FILE``, where they are written.
        digest: Of ids and labels.
    """

    table: pa.Table
    of: int
    source: str
    digest: str


def write_subset(
    data: Data, settings: ReproduceConfig, images: int | None, seed: int, out: Folder
) -> Subset:
    """Choose images of a source and write their table; ids stay those of the source.

    The first images of a smaller choice are those of a larger one of the same seed.

    Args:
        data: The source.
        settings: Where labels come from, and ``limit``.
        images: How many the experiment takes; all if not given.
        seed: Of the choice.
        out: Folder of the results.

    Raises:
        SessError: If the source cannot be read, lists nothing or has no labels.
    """
    config = RunConfig(labels=settings.labels, class_groups=settings.class_groups)
    rows = pa.concat_tables(Dataset(data.source, config).tables()).combine_chunks()
    wanted = min(images or rows.num_rows, settings.limit or rows.num_rows)
    order = np.random.default_rng(seed).permutation(rows.num_rows)[:wanted]
    chosen = rows.take(pa.array(np.sort(order)))
    told = [chosen[name].to_pylist() for name in ("image_id", "uri", "labels")]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]
    name = f"{data.kind or 'data'}-{chosen.num_rows}-{digest}.parquet"
    folder = out / _FOLDER
    if not folder.exists(name):
        folder.create()
        with folder.writing(name) as file:
            pq.write_table(chosen.rename_columns({"uri": "image"}), file)
    return Subset(chosen, rows.num_rows, f"table:{folder.uri}/{name}", digest)

"""Plan: rows of a source into shards of about equal patch cost, before any pixel moves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.images import image_size
from pipeline.labels import LabelResolver
from pipeline.records import PLAN_SCHEMA, SourceRow
from sess_kernels.config import SESSConfig
from sess_kernels.errors import SessError, one_line
from sess_kernels.windows import count

MIN_SHARD_PATCHES = 128  # below it the padding of the last device batch shows
MAX_SHARD_PATCHES = 65_536  # above it a lost shard costs too much to repeat
MAX_SHARD_PIXELS = 2**24  # a shard is decoded as a whole: 50 MB of RGB
_SHARDS = 64  # aimed at: enough for workers to end together
_HEADER_READERS = 16


@dataclass(frozen=True)
class PlannedRow:
    """One planned image, see ``records.PLAN_SCHEMA``."""

    image_id: str
    uri: str
    labels: list[int] | None
    height: int
    width: int
    n_patches: int
    error: str | None


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        shards: Parquet files of the planned rows, in order.
        n_images: Rows of the plan.
        n_patches: Patches of all images whose header could be read.
        fingerprint: SHA-256 over ids, URIs, labels and sizes.
    """

    shards: tuple[Path, ...]
    n_images: int
    n_patches: int
    fingerprint: str


def plan_rows(
    rows: Iterable[SourceRow],
    resolve: LabelResolver | None,
    config: SESSConfig,
    input_size: int,
) -> Iterator[PlannedRow]:
    """Sizes and patch counts of the rows, headers read in parallel, order kept.

    Args:
        rows: Rows of a source.
        resolve: Turns labels into class indices; ``None`` if the classes are predicted.
        config: Settings of SESS.
        input_size: Input size of the backbone in pixels.

    Raises:
        SessError: If two rows have one id, or labels cannot be resolved.
    """
    seen: set[str] = set()

    def plan(row: SourceRow) -> PlannedRow:
        labels = None if resolve is None else resolve(row.image_id, row.labels or ())
        try:
            height, width = image_size(row.uri)
            patches = count(height, width, config, input_size)
            return PlannedRow(row.image_id, row.uri, labels, height, width, patches, None)
        except Exception as error:  # a decoder may raise anything; the row says so, others go on
            return PlannedRow(row.image_id, row.uri, labels, 0, 0, 0, one_line(error))

    def unique(rows: Iterable[SourceRow]) -> Iterator[SourceRow]:
        for row in rows:
            if row.image_id in seen:
                raise SessError(f"two rows have the image id {row.image_id!r}; make ids unique")
            seen.add(row.image_id)
            yield row

    with ThreadPoolExecutor(_HEADER_READERS) as pool:
        yield from pool.map(plan, unique(rows))


def shards(rows: Iterable[PlannedRow], shard_patches: int) -> Iterator[list[PlannedRow]]:
    """Consecutive rows together until they reach ``shard_patches`` or ``MAX_SHARD_PIXELS``.

    Example:
        >>> rows = [PlannedRow(str(i), "", None, 9, 9, 10, None) for i in range(5)]
        >>> [len(shard) for shard in shards(rows, 20)]
        [2, 2, 1]
    """
    shard: list[PlannedRow] = []
    patches = pixels = 0
    for row in rows:
        shard.append(row)
        patches += max(row.n_patches, 1)
        pixels += row.height * row.width
        if patches >= shard_patches or pixels >= MAX_SHARD_PIXELS:
            yield shard
            shard, patches, pixels = [], 0, 0
    if shard:
        yield shard


def write_plan(rows: Iterable[PlannedRow], folder: Path) -> Plan:
    """Write the rows shard by shard to ``folder/shard-NNNNNN.parquet``."""
    planned = list(rows)
    total = sum(row.n_patches for row in planned)
    cost = min(max(total // _SHARDS, MIN_SHARD_PATCHES), MAX_SHARD_PATCHES)
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    files = []
    for number, shard in enumerate(shards(planned, cost)):
        table = pa.Table.from_pylist([asdict(row) for row in shard], PLAN_SCHEMA)
        file = folder / f"shard-{number:06d}.parquet"
        pq.write_table(table, file)
        files.append(file)
        for row in shard:
            digest.update(repr((row.image_id, row.uri, row.labels, row.height, row.width)).encode())
    return Plan(tuple(files), len(planned), total, digest.hexdigest())

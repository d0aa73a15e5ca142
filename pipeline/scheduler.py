"""Scheduler: rows of a source into a plan of shards, before any pixel moves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.files import Folder
from pipeline.fingerprint import Fingerprint
from pipeline.ids import UniqueIds, hash_ids
from pipeline.plan_rows import PlanConfig, plan_rows
from pipeline.records import PLAN_SCHEMA, TABLE_ROWS
from pipeline.sinks.layouts import stems
from pipeline.sizes import with_sizes
from pipeline.stores import open_file
from pipeline.streams import ahead, equal_tables

_PLANNERS = 2
_WRITERS = 4  # more than cores: a store answers late
_REPEATED = ["labels.list.element", "height", "width", "n_patches", "error"]  # of few values
_SHARD = PLAN_SCHEMA.get_field_index("shard")


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        n_files: Parquet files of the plan, see ``files``.
        n_images: Rows of the plan.
        n_patches: Patches of all images that can be explained.
        n_shards: Shards of the plan.
        n_failed: Rows with an error.
        fingerprint: SHA-256 of what the source lists, see ``fingerprint.Fingerprint``.
        n_missing: Rows of them whose file does not exist.
        listed: What else became known of the source, see ``sources.Listed``.

    Example:
        >>> plan = Plan(1, 5, 405, 1, 0, "1c2b")
        >>> plan.files, Plan.of(plan.to_dict()) == plan
        (('part-000000.parquet',), True)
    """

    n_files: int
    n_images: int
    n_patches: int
    n_shards: int
    n_failed: int
    fingerprint: str
    n_missing: int = 0
    listed: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Plan:
        """The plan that ``to_dict`` tells of."""
        return cls(**stored)

    def to_dict(self) -> dict[str, Any]:
        """The plan ready for JSON."""
        return asdict(self)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files of the plan, in order; rows of ``records.PLAN_SCHEMA``."""
        return tuple(_name(number) for number in range(self.n_files))


def write_plan(tables: Iterable[pa.Table], folder: Folder, config: PlanConfig) -> Plan:
    """Plan the rows of a source and write them to ``folder``, a few tables at a time.

    Every image gets its size (from its header, if the source does not tell it), its patch count,
    its classes and its shard. An image that cannot be explained keeps its row and says why.

    Args:
        tables: Rows of ``records.SOURCE_SCHEMA``.
        folder: Where the plan goes; it should be empty.
        config: What else the plan depends on.

    Raises:
        SessError: If two rows have one id or would share an NPY file, an id is empty or holds NUL,
            or labels cannot be resolved.
    """
    folder.create()
    listed = Fingerprint()
    sized = with_sizes(equal_tables(listed.watch(tables), TABLE_ROWS), config.max_pixels)
    planned = ahead(partial(_plan, config=config), _parts(sized), _PLANNERS)
    files: list[str] = []
    called = "NPY file (its id less the extension)" if config.by_stem else "image id"
    unique = UniqueIds(lambda: (_names(ids, config) for ids in _ids(folder, files)), called)
    n_images = n_patches = n_shards = n_failed = n_missing = 0
    for part in ahead(partial(_write, folder=folder), _numbered(planned), _WRITERS):
        files.append(_name(part.number))
        unique.add(part.hashes)
        n_images += part.rows.num_rows
        n_patches += pc.sum(part.rows["n_patches"]).as_py()
        n_shards = part.rows["shard"][-1].as_py() + 1
        n_failed += part.rows.num_rows - part.rows["error"].null_count
        n_missing += part.n_missing
    unique.check()
    pa.default_memory_pool().release_unused()  # the driver lives on for as long as the run
    counts = (len(files), n_images, n_patches, n_shards, n_failed)
    return Plan(*counts, listed.hexdigest(), n_missing)


def read_plan(
    folder: Folder, files: Iterable[str], columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Rows of files of a plan, a table for each file.

    Args:
        folder: Where the plan is.
        files: Names of its files.
        columns: Columns to read; all, if not given.

    Raises:
        OSError: If a file is missing or cannot be read.
    """
    for name in files:
        with open_file(f"{folder.uri}/{name}") as file:
            yield pq.read_table(file, columns=columns)


def write_part(folder: Folder, name: str, rows: pa.Table) -> None:
    """Write a file of a plan.

    Args:
        folder: Where the plan is.
        name: Name of the file.
        rows: Rows of ``records.PLAN_SCHEMA``.
    """
    with folder.writing(name) as file:
        pq.write_table(rows, file, compression="zstd", use_dictionary=_REPEATED)


@dataclass(frozen=True)
class _Sized:
    """Rows of a source with their sizes, see ``sizes.with_sizes``, for one file of the plan."""

    number: int
    rows: pa.Table
    is_all: bool


@dataclass(frozen=True)
class _Planned:
    """Rows of one file of the plan, the hashes of their ids, and how many have no file."""

    number: int
    rows: pa.Table
    hashes: NDArray[np.uint64]
    n_missing: int


def _parts(sized: Iterator[pa.Table]) -> Iterator[_Sized]:
    """What each file of the plan will hold; whether it holds all is known one table ahead."""
    number, rows = 0, next(sized, None)
    while rows is not None:
        following = next(sized, None)
        yield _Sized(number, rows, is_all=number == 0 and following is None)
        number, rows = number + 1, following


def _plan(part: _Sized, config: PlanConfig) -> _Planned:
    rows = plan_rows(part.rows, part.number * TABLE_ROWS, config, is_all=part.is_all)
    n_missing = pc.sum(part.rows["missing"]).as_py()
    names = _names(rows["image_id"].combine_chunks(), config)
    return _Planned(part.number, rows, hash_ids(names), n_missing)


def _names(ids: pa.StringArray, config: PlanConfig) -> pa.StringArray:
    """What must differ from image to image: the ids, or what files are called after."""
    return stems(ids) if config.by_stem else ids


def _numbered(planned: Iterator[_Planned]) -> Iterator[_Planned]:
    """Parts whose shards go on where those of the part before ended."""
    n_shards = 0
    for part in planned:
        shards = pc.add(part.rows["shard"], pa.scalar(n_shards, pa.int32()))
        n_shards = shards[-1].as_py() + 1
        rows = part.rows.set_column(_SHARD, PLAN_SCHEMA.field(_SHARD), shards)
        yield replace(part, rows=rows)


def _write(part: _Planned, folder: Folder) -> _Planned:
    write_part(folder, _name(part.number), part.rows)
    return part


def _name(number: int) -> str:
    return f"part-{number:06d}.parquet"


def _ids(folder: Folder, files: list[str]) -> Iterator[pa.StringArray]:
    for rows in read_plan(folder, files, ["image_id"]):
        yield rows["image_id"].combine_chunks()

"""Shards as blocks of one row, as Ray carries them."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.engines.base import by_shard, rows_per_file
from pipeline.records import SCORED_SCHEMA
from pipeline.scheduler import Plan


@pytest.fixture(scope="module")
def actors():
    pytest.importorskip("ray")
    from pipeline.engines import actors

    return actors


def rows(*numbers):
    one = dict.fromkeys(SCORED_SCHEMA.names)
    return pa.Table.from_pylist(
        [
            one | {"row": n, "shard": n // 3, "pixels": b"x" * n, "scores": [n / 7, 0.5]}
            for n in numbers
        ],
        SCORED_SCHEMA,
    )


def test_shards_are_runs_of_one_number():
    table = pa.table({"shard": [5, 5, 2, 2, 2, 9], "row": list(range(6))})
    found = [one["row"].to_pylist() for one in by_shard(table)]
    assert found == [[0, 1], [2, 3, 4], [5]]
    assert list(by_shard(table[:0])) == []


def test_a_packed_shard_is_one_row_and_comes_out_as_it_went_in(actors):
    table = pa.concat_tables([rows(0, 1), rows(2)])  # of two chunks
    packed = actors.pack(table)
    assert packed.num_rows == 1
    assert actors.unpack(packed).equals(table.combine_chunks())
    both = pa.concat_tables([actors.pack(rows(0, 1)), actors.pack(rows(4))])
    assert actors.unpack(both)["row"].to_pylist() == [0, 1, 4]
    second = actors.unpack(both.slice(1, 1))  # a slice has an offset
    assert second.equals(rows(4))


def test_the_rows_that_are_done_are_left_out_of_their_shards(actors, monkeypatch):
    done = np.packbits([True, False, True, True, True, True, False, False])
    monkeypatch.setattr(actors.ray, "get", lambda bits: bits)
    packed = actors.shards_of(rows(*range(8)), done)
    found = [actors.unpack(packed.slice(i, 1)) for i in range(packed.num_rows)]
    assert [one["row"].to_pylist() for one in found] == [[1], [6, 7]]
    nothing = actors.shards_of(rows(*range(8)), np.packbits([True] * 8))
    assert nothing.num_rows == 0
    assert nothing.schema == packed.schema


def test_files_of_maps_stay_few():
    def of(n):
        return rows_per_file(Plan(1, n, 0, 0, 0, ""))

    assert [of(n) for n in (1, 4096, 4097, 10**6, 10**9)] == [1, 1, 2, 245, 4096]

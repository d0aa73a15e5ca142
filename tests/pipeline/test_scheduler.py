import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import PLAN_SCHEMA, SourceRow
from pipeline.scheduler import PlannedRow, plan_rows, shards, write_plan
from pipeline.sources import open_source
from sess_kernels import SESSConfig, SessError
from sess_kernels.windows import count

CONFIG = SESSConfig(scales=3)


@given(st.lists(st.integers(0, 50)), st.integers(1, 100))
def test_shards_keep_every_row_once_in_order_at_about_equal_cost(patches, cost):
    rows = [PlannedRow(str(i), "", None, 1, 1, n, None) for i, n in enumerate(patches)]
    made = list(shards(rows, cost))
    assert [row for shard in made for row in shard] == rows
    for shard in made[:-1]:
        total = sum(max(row.n_patches, 1) for row in shard)
        assert cost <= total < cost + max(50, 1)
    assert all(made)


def test_large_photographs_make_small_shards():
    rows = [PlannedRow(str(i), "", None, 3000, 4000, 1, None) for i in range(5)]
    assert [len(shard) for shard in shards(rows, 10**6)] == [2, 2, 1]


def test_plan_knows_sizes_and_patches_before_pixels_move(photo_folder):
    rows = {r.image_id: r for r in plan_rows(open_source(str(photo_folder)), None, CONFIG, 224)}
    assert (rows["cat.jpg"].height, rows["cat.jpg"].width) == (300, 451)
    assert rows["cat.jpg"].n_patches == count(300, 451, CONFIG)
    assert rows["cut.jpg"].error is None  # its header is whole
    assert "is no image of a known format" in rows["not.jpg"].error
    assert rows["not.jpg"].n_patches == 0


def test_the_same_input_gives_the_same_plan(photo_folder, tmp_path):
    plans = [
        write_plan(plan_rows(open_source(str(photo_folder)), None, CONFIG, 224), tmp_path / name)
        for name in ("one", "two")
    ]
    assert plans[0].fingerprint == plans[1].fingerprint
    for one, two in zip(plans[0].shards, plans[1].shards, strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert pq.read_schema(one).equals(PLAN_SCHEMA)


def test_two_rows_with_one_id_are_refused(photo_folder):
    uri = str(photo_folder / "cat.jpg")
    with pytest.raises(SessError, match="two rows have the image id 'a'"):
        list(plan_rows([SourceRow("a", uri), SourceRow("a", uri)], None, CONFIG, 224))

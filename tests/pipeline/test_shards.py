import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import shards
from pipeline.shards import MIN_SHARD_PATCHES, cut, shard_bytes, small_shard_patches

LIMIT = 1000  # bytes


@pytest.fixture(autouse=True, scope="module")
def _small_shards():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "MAX_SHARD_BYTES", LIMIT)
        yield


def reference(patches, n_bytes, batch_size, max_patches):
    """The same rule, one row after the other."""
    ends, start = [], 0
    while start < len(patches):
        allowed, fallback = [], None
        for end in range(start + 1, len(patches) + 1):
            cost = sum(max(one, 1) for one in patches[start:end])
            size = sum(n_bytes[start:end])
            before = sum(max(one, 1) for one in patches[start : end - 1])
            if end > start + 1 and (
                size > LIMIT or (cost > max_patches and before >= MIN_SHARD_PATCHES)
            ):
                break
            fallback = end
            enough = cost >= max_patches * 3 // 4 or size >= LIMIT * 3 // 4
            if enough and cost >= MIN_SHARD_PATCHES:
                padding = -sum(patches[start:end]) % batch_size
                allowed.append((padding, -end))
        end = -min(allowed)[1] if allowed and fallback < len(patches) else fallback
        ends.append(end)
        start = end
    return ends


ROWS = st.lists(st.tuples(st.integers(0, 90), st.integers(0, 1200)), max_size=60)
FEW_BYTES = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 9)), max_size=60)


@settings(deadline=None)
@given(ROWS | FEW_BYTES, st.integers(1, 140), st.integers(128, 900))
def test_shards_are_cut_as_one_row_after_the_other(rows, batch_size, max_patches):
    patches, n_bytes = (np.array([row[n] for row in rows], np.int64) for n in (0, 1))
    ends = cut(patches, n_bytes, batch_size, max_patches).tolist()
    assert ends == reference(patches.tolist(), n_bytes.tolist(), batch_size, max_patches)
    assert ends == cut(patches, n_bytes, batch_size, max_patches).tolist()
    starts = [0, *ends[:-1]] if ends else []
    assert ends[-1:] == ([len(rows)] if rows else [])
    for start, end in zip(starts, ends, strict=True):
        assert start < end
        alone = end == start + 1
        cost = np.maximum(patches[start:end], 1)
        assert alone or n_bytes[start:end].sum() <= LIMIT
        assert alone or cost.sum() <= max_patches or cost[:-1].sum() < MIN_SHARD_PATCHES


def test_a_shard_ends_where_its_last_device_batch_is_full():
    patches = np.full(40, 81)
    ends = cut(patches, np.ones(40, int), batch_size=27, max_patches=900)
    assert ends.tolist() == [11, 22, 33, 40]  # every end is full: the longest
    ends = cut(patches, np.ones(40, int), batch_size=128, max_patches=900)
    assert ends.tolist() == [11, 22, 33, 40]  # 891 of 896 patches
    ends = cut(patches, np.ones(40, int), batch_size=162, max_patches=900)
    assert ends.tolist() == [10, 20, 30, 40]  # five full batches, not five and a half


def test_rows_that_failed_fill_a_shard_too():
    assert cut(np.zeros(300, int), np.zeros(300, int), 4, 128).tolist() == [128, 256, 300]


def test_bytes_of_a_shard_are_pixels_and_maps():
    pixels = np.array([100, 100, 100])
    assert shard_bytes(pixels, np.array([0, 1, 5])).tolist() == [700, 700, 2300]
    assert shard_bytes(pixels, 2).tolist() == [1100, 1100, 1100]


@pytest.mark.parametrize(("total", "most"), [(10, 128), (64_000, 1000), (10**9, 65_536)])
def test_a_small_dataset_has_about_64_shards(total, most):
    assert small_shard_patches(np.array([total - 4, 4])) == most

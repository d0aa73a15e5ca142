"""Work ahead and tables of equal length."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.streams import ahead, equal_tables


def test_work_ahead_is_bounded_ordered_and_ends_with_its_fault():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    found = ahead(lambda number: 10 // (3 - number), items(), workers=2)
    assert [next(found) for _ in range(3)] == [3, 5, 10]
    assert len(taken) <= 6
    with pytest.raises(ZeroDivisionError):
        next(found)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9)), st.integers(1, 7))
def test_equal_tables_hold_the_same_rows(lengths, rows):
    ends = np.cumsum(lengths, dtype=int)
    tables = [
        pa.table({"n": np.arange(end - n, end)}) for n, end in zip(lengths, ends, strict=True)
    ]
    found = [one["n"].to_pylist() for one in equal_tables(tables, rows)]
    assert [n for one in found for n in one] == list(range(sum(lengths)))
    assert all(len(one) == rows for one in found[:-1])
    assert all(0 < len(one) <= rows for one in found)

import copy

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.fingerprint import fingerprint
from pipeline.records import SOURCE_SCHEMA

TEXT = st.text("aé/", max_size=4)
SIDE = st.none() | st.integers(1, 9)
ROW = st.fixed_dictionaries(
    {
        "image_id": TEXT,
        "uri": TEXT,
        "labels": st.none() | st.lists(TEXT, max_size=3),
        "height": SIDE,
        "width": SIDE,
    }
)


def _table(rows):
    return pa.Table.from_pylist(rows, SOURCE_SCHEMA)


@settings(deadline=None)
@given(st.lists(ROW, max_size=12), st.data())
def test_it_does_not_depend_on_how_rows_are_cut_into_tables(rows, data):
    whole = _table(rows)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    bounds = zip([0, *cuts], [*cuts, len(rows)], strict=True)
    sliced = [whole.slice(start, end - start) for start, end in bounds]
    assert fingerprint(sliced) == fingerprint([whole])
    assert fingerprint([_table(part.to_pylist()) for part in sliced]) == fingerprint([whole])
    assert fingerprint([pa.concat_tables(sliced)]) == fingerprint([whole])


@settings(deadline=None)
@given(st.lists(ROW, max_size=4), st.lists(ROW, max_size=4))
def test_two_datasets_have_two(one, other):
    assert (fingerprint([_table(one)]) == fingerprint([_table(other)])) == (one == other)


ROWS = [
    {"image_id": "a", "uri": "/a", "labels": ["1", "2"], "height": 2, "width": 3},
    {"image_id": "b", "uri": "/b", "labels": None, "height": None, "width": None},
]


@pytest.mark.parametrize(
    ("row", "name", "value"),
    [
        (0, "image_id", "c"),
        (0, "uri", "/c"),
        (0, "labels", ["12"]),
        (0, "labels", ["2", "1"]),
        (1, "labels", []),
        (0, "height", 3),
        (1, "width", 3),
    ],
)
def test_every_value_counts(row, name, value):
    changed = copy.deepcopy(ROWS)
    changed[row][name] = value
    assert fingerprint([_table(changed)]) != fingerprint([_table(ROWS)])


def test_it_stays_the_same():
    assert fingerprint([_table(ROWS)]) == (
        "a076256d6a66bbcae3586f28cd370b5f7db07a45f3bbace9c2c491d91a639164"
    )

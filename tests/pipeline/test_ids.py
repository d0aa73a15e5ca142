import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import ids as ids_module
from pipeline.ids import UniqueIds, check_ids, hash_ids
from sess_kernels import SessError


def _add_all(tables, bad_hash=False):
    arrays = [pa.array(table, pa.string()) for table in tables]
    so_far = []
    unique = UniqueIds(lambda: so_far)
    with pytest.MonkeyPatch.context() as patch:
        if bad_hash:  # all ids clash
            patch.setattr(ids_module, "hash_ids", lambda ids: np.zeros(len(ids), np.uint64))
        for array in arrays:
            so_far.append(array)
            unique.add(ids_module.hash_ids(array))
        unique.check()


@settings(deadline=None)
@given(
    st.lists(st.lists(st.text("ab", min_size=1, max_size=3), max_size=6), max_size=6),
    st.booleans(),
)
def test_ids_that_come_twice_are_found_and_no_others(tables, bad_hash):
    whole = [one for table in tables for one in table]
    if len(set(whole)) == len(whole):
        _add_all(tables, bad_hash)
    else:
        with pytest.raises(SessError, match="two rows have the image id") as caught:
            _add_all(tables, bad_hash)
        assert any(repr(one) in str(caught.value) for one in whole if whole.count(one) > 1)


def test_rows_that_repeat_an_id_are_counted():
    with pytest.raises(SessError, match="image id 'b', and 2 more have that of an earlier row;"):
        _add_all([["a", "b", "c"], ["b", "b", "c", "d"]])


def test_an_id_is_found_again_far_apart():
    names = [[f"{part}/{n:05d}" for n in range(1000)] for part in range(9)]
    _add_all(names)
    names[8][500] = "0/00007"
    with pytest.raises(SessError, match="two rows have the image id '0/00007'"):
        _add_all(names)


@settings(deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1))
def test_a_hash_depends_on_the_text_alone(texts):
    whole = hash_ids(pa.array(texts))
    alone = [int(hash_ids(pa.array([text]))[0]) for text in texts]
    assert whole.tolist() == alone
    assert hash_ids(pa.array(["before", *texts, "after"]).slice(1, len(texts))).tolist() == alone
    assert len(set(alone)) == len(set(texts))


def test_hashes_of_numbered_names_do_not_clash():
    numbers = np.char.zfill(np.arange(300_000).astype(str), 12)
    for form in ("{}", "train/{}.jpg", "{0}{0}"):
        ids = pa.array([form.format(number) for number in numbers])
        assert len(np.unique(hash_ids(ids))) == len(ids)


def test_a_hash_is_the_same_on_every_machine():
    assert hash_ids(pa.array(["", "a", "n01440764/10026.JPEG"])).tolist() == [
        0,
        15295399858946208923,
        17980465482845414354,
    ]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("", "row 12: the image id is empty; fill the column 'image_id'"),
        (None, "row 12: the image id is empty"),
        ("a\0b", r"row 12: the image id 'a\\x00b' holds NUL; remove it"),
    ],
)
def test_ids_that_nothing_can_carry(bad, said):
    good = ["../../etc", "/etc/passwd", "x" * 300, "A", "a", "..", "é\n"]
    check_ids(pa.array(good), 0)
    with pytest.raises(SessError, match=said):
        check_ids(pa.array(["first", "second", bad]), 10)

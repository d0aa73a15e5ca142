"""File names from image ids: inside their folder, and no two ids share one."""

import hashlib
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.names import safe_name

NASTY = st.text(st.sampled_from("aAb./\\\0%:é \n2FEnpy"), min_size=1, max_size=12)


@given(st.lists(NASTY, unique=True, max_size=30), st.booleans())
def test_names_stay_inside_and_never_meet(ids, fold_case):
    names = [safe_name(image_id, fold_case=fold_case) for image_id in ids]
    assert len({name.lower() if fold_case else name for name in names}) == len(ids)
    for name in names:
        path = PurePosixPath(name)
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert name.isascii()
        assert name.isprintable()
        assert "\\" not in name
        assert str(path) == name  # no empty or single-dot part that the system would drop


@pytest.mark.parametrize("fold_case", [False, True])
def test_long_names_are_cut_and_still_differ(fold_case):
    ids = ["x" * 300 + "1", "x" * 300 + "2", "é" * 300, "E" * 199, "a/" * 3000 + "1", "a/" * 3000]
    names = [safe_name(image_id, fold_case=fold_case) for image_id in ids]
    assert len(set(names)) == len(ids)
    assert max(len(name) for name in names) <= 800
    assert max(len(part) for name in names for part in name.split("/")) <= 200
    assert names[0].startswith("x" * 100)


def test_no_id_is_made_to_look_like_the_name_of_a_longer_one():
    long = "x" * 300
    name = safe_name(long)
    digest = hashlib.sha256(long.encode()).hexdigest()
    assert name.endswith(digest)
    for forged in (name, f"{long[:135]}-{digest}", f"{long[:133]}%{digest}"):
        assert safe_name(forged) != name
    deep = safe_name("a/" * 3000)
    assert safe_name(deep) != deep
    assert safe_name("/" + deep.removeprefix("%2F")) != deep


def test_plain_ids_keep_their_look():
    assert safe_name("train/n01440764/a b.JPEG") == "train/n01440764/a b.JPEG"
    assert safe_name("A/a.jpg", fold_case=True) == "%41/a.jpg"


def test_no_folder_is_called_as_a_map_beside_it():
    """The maps of ``a`` are ``a/0.npy``, ...: the id ``a/0.npy`` needs a folder."""
    assert safe_name("a/0.npy") == "a/0%2Enpy"
    assert safe_name("a/0%2Enpy") == "a/0%252Enpy"
    assert safe_name("a/x0.npy") == "a/x0.npy"

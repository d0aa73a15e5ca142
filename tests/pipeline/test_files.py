from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.files import atomic_write, safe_name
from pipeline.sinks import decode_map, encode_map

NASTY = st.text(st.sampled_from("ab./\\\0%:é \n2FE"), min_size=1, max_size=12)


@given(st.lists(NASTY, unique=True, max_size=30))
def test_names_stay_inside_and_never_meet(ids):
    names = [safe_name(image_id) for image_id in ids]
    assert len(set(names)) == len(ids)
    for name in names:
        path = PurePosixPath(name)
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert "\0" not in name
        assert str(path) == name  # no empty or single-dot part that the system would drop


def test_long_names_are_cut_and_still_differ():
    one, two = safe_name("x" * 300 + "1"), safe_name("x" * 300 + "2")
    assert one != two
    assert max(len(one), len(two)) <= 200
    assert safe_name("train/n01440764/a b.JPEG") == "train/n01440764/a b.JPEG"


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "deep" / "a.bin"

    def break_off():
        with atomic_write(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert list(path.parent.iterdir()) == []
    with atomic_write(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("dtype", "step"),
    [("uint8", 1 / 255), ("uint16", 1 / 65535), ("float16", 1e-3), ("float32", 0)],
)
def test_maps_survive_their_encoding(dtype, step):
    map_ = np.random.default_rng(0).random((7, 11), np.float32)
    map_[0, 0], map_[0, 1] = 0, 1
    found = decode_map(encode_map(map_, dtype), dtype, [7, 11])
    assert found.dtype == np.float32
    assert np.abs(found - map_).max() <= step / 2 + 1e-7
    assert (found[0, 0], found[0, 1]) == (0, 1)

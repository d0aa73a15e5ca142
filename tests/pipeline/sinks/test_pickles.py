import io
import pickle
import pickletools

import numpy as np
import pytest
import torch

from pipeline.sinks.pickles import dumps, load_npy, save_npy
from sess_kernels import SessError

OBJECTS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.arange(12.0).reshape(3, 4)[::2, 1:],
    np.array([True, False]),
    np.array(["a", "bc"]),
    np.array([{"a": 1}, None], object),
    np.zeros((0, 4), np.float32),
    np.array(7, np.int64),
    np.float32(0.1),
    np.int64(-3),
    np.bool_(True),
]


def numpy_file(obj):
    file = io.BytesIO()
    save_npy(obj, file)
    return file.getvalue()


@pytest.mark.parametrize("one", OBJECTS, ids=lambda one: f"{type(one).__name__} {one.dtype}")
def test_what_numpy_loads_is_what_was_saved(one):
    [found] = pickle.loads(dumps([one]))
    assert type(found) is type(one)
    assert found.dtype == one.dtype
    np.testing.assert_array_equal(found, one)
    if isinstance(found, np.ndarray):
        assert found.flags.writeable
        assert found.flags.owndata


def test_no_private_module_of_numpy_is_named():
    whole = {"list": [*OBJECTS, [np.ones(3)]], 3: np.ones((2, 2), np.float32)}
    for content in (dumps(whole), numpy_file(whole)):
        assert b"_core" not in content
        assert b"numpy.core" not in content
    names = [arg for _, arg, _ in pickletools.genops(dumps(whole)) if isinstance(arg, str)]
    assert {name for name in names if name.startswith("numpy")} == {"numpy"}


def test_equal_arrays_stay_one():
    array = np.ones(3)
    one, two = pickle.loads(dumps([array, array]))
    assert one is two


def test_tensors_are_pickled_as_torch_does_it():
    assert pickle.loads(dumps(torch.arange(3))).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "saved", [{"keys": np.arange(2), "cam": np.ones((2, 3, 4), np.float32)}, {7: np.eye(2)}, [], 3]
)
def test_npy_files_load_with_numpy_and_here(saved, tmp_path):
    (tmp_path / "a.npy").write_bytes(numpy_file(saved))
    loaded = np.load(tmp_path / "a.npy", allow_pickle=True)
    assert loaded.shape == ()
    for found in (loaded.item(), load_npy((tmp_path / "a.npy").read_bytes())):
        np.testing.assert_equal(found, saved)


def test_plain_arrays_are_read_too():
    file = io.BytesIO()
    np.save(file, np.eye(3, dtype=np.float16))
    np.testing.assert_array_equal(load_npy(file.getvalue()), np.eye(3))


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit",)


def test_a_file_that_would_run_code_is_refused():
    with pytest.raises(SessError, match=r"NPY file cannot be read: it holds builtins\.exec"):
        load_npy(numpy_file({"high_res": Evil()}))


@pytest.mark.parametrize("content", [b"", b"not npy", numpy_file({1: np.ones(9)})[:-40]])
def test_broken_files_are_told(content):
    with pytest.raises(SessError, match="NPY file cannot be read: "):
        load_npy(content)

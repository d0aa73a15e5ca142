import json
import subprocess
import venv
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional

from pipeline.config import NPY_LAYOUTS
from pipeline.files import Folder
from pipeline.sinks.layouts import LAYOUTS, LayoutOptions, read_layout, stems, write_layout
from pipeline.sinks.pickles import dumps
from sess_kernels import SessError

SHAPE = (37, 50)  # neither is a multiple of the stride
CLASSES = (14, 2, 7)


@pytest.fixture
def records():
    values = np.random.default_rng(3).random((3, *SHAPE), np.float32)
    values -= values.min((1, 2), keepdims=True)
    values /= values.max((1, 2), keepdims=True)
    scores = (0.2, 0.9, 0.4)
    return [
        SimpleNamespace(class_index=n, score=score, map=map_)
        for n, score, map_ in zip(CLASSES, scores, values, strict=True)
    ]


@pytest.fixture
def written(records, tmp_path):
    """Writes an image in a layout; the paths and the content of the first."""

    def write(layout, image_id="2007_000027.jpg", **options):
        paths = write_layout(
            Folder.of(tmp_path), layout, image_id, records, LayoutOptions(**options)
        )
        first = next(filter(None, paths))
        loaded = np.load(tmp_path / first, allow_pickle=True)
        return paths, loaded.item() if loaded.dtype == object else loaded

    return write


def test_the_settings_name_the_layouts():
    assert tuple(LAYOUTS) == NPY_LAYOUTS


def test_plain(written, records, tmp_path):
    paths, first = written("plain", dtype="float16")
    assert paths == [f"2007_000027.jpg/{n}.npy" for n in CLASSES]
    assert first.dtype == np.float16
    for path, record in zip(paths, records, strict=True):
        np.testing.assert_array_equal(np.load(tmp_path / path), record.map.astype(np.float16))


def test_irn_holds_what_its_own_program_saves(written, records):
    paths, found = written("irn")
    assert paths == ["2007_000027.npy"] * 3
    assert list(found) == ["keys", "cam", "high_res"]
    assert {key: one.dtype.name for key, one in found.items()} == {
        "keys": "int64",
        "cam": "float32",
        "high_res": "float32",
    }
    assert found["keys"].tolist() == list(CLASSES)
    maps = torch.stack([torch.from_numpy(record.map) for record in records])
    size = ((SHAPE[0] - 1) // 4 + 1, (SHAPE[1] - 1) // 4 + 1)
    cam = functional.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
    for name, expected in (("cam", cam), ("high_res", maps)):
        expected = expected / (functional.adaptive_max_pool2d(expected, (1, 1)) + 1e-5)
        assert found[name].shape == expected.shape
        np.testing.assert_allclose(found[name], expected, rtol=1e-6)


def test_irn_as_its_evaluation_and_its_labels_use_it(written, records):
    """The lines of ``eval_cam`` and ``cam_to_ir_label`` on the file: class of each pixel or 0."""
    _, found = written("irn")
    above = np.pad(found["high_res"], ((1, 0), (0, 0), (0, 0)), constant_values=0.6)
    keys = np.pad(found["keys"] + 1, (1, 0), mode="constant")
    expected = np.zeros(SHAPE, int)
    best = np.full(SHAPE, 0.6)
    for record in records:
        expected[record.map > best] = record.class_index + 1
        best = np.maximum(best, record.map)
    assert (keys[np.argmax(above, 0)] == expected).mean() > 0.999  # maps are divided by 1.00001


def test_irn_with_tensors_as_its_random_walk_takes_them(written):
    _, found = written("irn", tensors=True)
    plain = written("irn")[1]
    assert torch.is_tensor(found["cam"])
    assert torch.equal(found["cam"].cpu(), torch.from_numpy(plain["cam"]))
    assert np.pad(found["keys"] + 1, (1, 0)).tolist() == [0, *(n + 1 for n in CLASSES)]
    np.testing.assert_array_equal(found["high_res"], plain["high_res"])


def test_psa(written, records):
    paths, found = written("psa")
    assert paths == ["2007_000027.npy"] * 3
    assert list(found) == list(CLASSES)
    assert {type(key) for key in found} == {int}
    for record in records:
        assert found[record.class_index].dtype == np.float32
        np.testing.assert_array_equal(found[record.class_index], record.map)


def test_wsol_holds_the_class_with_the_best_score(written, records):
    paths, found = written("wsol", "val/ILSVRC2012_val_00000001.JPEG")
    assert paths == [None, "val/ILSVRC2012_val_00000001.JPEG.npy", None]
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, records[1].map.astype(np.float64))


def test_wsol_resized(written, records):
    _, found = written("wsol", size=224)
    assert found.shape == (224, 224)
    assert (found.min(), found.max()) == (0, 1)
    whole = torch.from_numpy(records[1].map)[None, None].double()
    expected = functional.interpolate(whole, (224, 224), mode="bilinear")[0, 0].numpy()
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("layout", ["irn", "psa", "wsol"])
def test_an_empty_map_stays_empty(tmp_path, layout):
    record = SimpleNamespace(class_index=1, score=0.0, map=np.zeros((5, 6), np.float32))
    [path] = write_layout(Folder.of(tmp_path), layout, "a", [record])
    assert not read_layout((tmp_path / path).read_bytes(), 1).any()


def test_an_unknown_layout_is_told(written):
    with pytest.raises(SessError, match="unknown NPY layout 'irm'; did you mean 'irn'"):
        written("irm")


NAMES = {
    "2007_000027.jpg": "2007_000027",
    "a/b.JPEG": "a/b",
    "a.tar.png": "a.tar",
    "a.webp.jpg": "a.webp",
    "v1.0": "v1.0",
    "a.txt": "a.txt",
    ".jpg": ".jpg",
    "a/.png": "a/.png",
    "a.jpg/b": "a.jpg/b",
    "a.jpg\n": "a.jpg\n",
    "\n.jpg": "\n",
}


def test_stems():
    assert stems(pa.array(list(NAMES))).to_pylist() == list(NAMES.values())


NASTY = ["a", "a.npy", "a.npy/b", "a/b", "a/b.npy", "a/b.npy/c", "..", "../a", "/a", "a/7", "7.npy"]


@pytest.mark.parametrize("fold_case", [False, True])
@pytest.mark.parametrize("layout", ["irn", "psa", "wsol"])
def test_no_two_ids_share_a_file_and_none_leaves_the_folder(tmp_path, layout, fold_case):
    ids = [*NASTY, *(one.upper() for one in NASTY if one.upper() != one), "a%2Enpy/b", "a.jpg/b"]
    folder = Folder.of(tmp_path / "npy")
    for number, image_id in enumerate(ids):
        record = SimpleNamespace(
            class_index=0, score=1.0, map=np.array([[0, number + 1]], np.float32)
        )
        write_layout(folder, layout, image_id, [record], fold_case=fold_case)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == len(ids)
    assert all(path.is_relative_to(tmp_path / "npy") for path in files)
    if fold_case:
        assert len({str(path).lower() for path in files}) == len(ids)


@pytest.fixture(scope="session")
def numpy_1(tmp_path_factory):
    """Python of an environment with numpy 1.26."""
    folder = tmp_path_factory.mktemp("numpy-1")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    asked = [python, "-m", "pip", "install", "-q", "--only-binary", ":all:", "numpy==1.26.4"]
    found = subprocess.run(asked, capture_output=True, text=True, timeout=300)
    if found.returncode:
        pytest.skip(f"pip cannot install numpy 1.26: {found.stderr.strip()[-160:]}")
    return python


READ = """
import json, pickle, sys
import numpy as np

def told(found):
    if isinstance(found, np.ndarray):
        return [found.dtype.str, found.shape, found.ravel().tolist()]
    pairs = found.items() if isinstance(found, dict) else enumerate(found)
    return {str(key): told(value) for key, value in pairs}

assert np.__version__ == "1.26.4"
seen = {}
for path in sys.argv[1:]:
    if path.endswith(".pkl"):
        with open(path, "rb") as file:
            seen[path] = told(pickle.load(file))
    else:
        loaded = np.load(path, allow_pickle=True)
        seen[path] = told(loaded.item() if loaded.dtype == object else loaded)
print(json.dumps(seen))
"""


def told(found):
    if isinstance(found, np.ndarray):
        return [found.dtype.str, list(found.shape), found.ravel().tolist()]
    pairs = found.items() if isinstance(found, dict) else enumerate(found)
    return {str(key): told(value) for key, value in pairs}


@pytest.mark.slow
def test_every_file_loads_in_numpy_1(numpy_1, written, tmp_path):
    expected = {}
    for layout in LAYOUTS:
        paths, found = written(layout, f"{layout}.jpg")
        expected[str(tmp_path / next(filter(None, paths)))] = told(found)
    proposals = {"boxes": [np.eye(4, dtype=np.float32), np.zeros((0, 4))], "ids": [np.arange(3)]}
    (tmp_path / "proposals.pkl").write_bytes(dumps(proposals))
    expected[str(tmp_path / "proposals.pkl")] = told(proposals)
    asked = [numpy_1, "-c", READ, *expected]
    found = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == expected

"""Runs with ``--npy-layout``."""

import numpy as np
import pytest

from pipeline import RunConfig, read_maps, run
from pipeline.read import read_images
from sess_kernels import SessError
from sess_kernels.errors import ConfigError

FAST = {"scales": 1, "engine": "local", "labels": "predicted", "top_k": 2}


def settings(backbone, **others):
    return RunConfig(**FAST | {"backbone": backbone, "format": "npy"} | others)


@pytest.mark.parametrize("layout", ["plain", "irn", "psa"])
def test_runs_with_npy_files_alone_are_read_back(photo_folder, tmp_path, tiny_backbone, layout):
    for name in {"plain", layout}:
        out = tmp_path / name
        run(str(photo_folder), out, settings(tiny_backbone, npy_layout=name))
    expected, found = (list(read_maps(tmp_path / name)) for name in ("plain", layout))
    assert len(found) == len(expected) == 8  # two images cannot be read
    for one, other in zip(found, expected, strict=True):
        assert (one.image_id, one.class_index) == (other.image_id, other.class_index)
        np.testing.assert_allclose(one.map, other.map, atol=2e-7)
    files = {
        str(path.relative_to(tmp_path / layout)) for path in (tmp_path / layout).rglob("*.npy")
    }
    if layout == "plain":
        assert len(files) == 8
    else:
        assert files == {"npy/blocks.npy", "npy/cat.npy", "npy/coffee.npy", "npy/sub/small.npy"}


def test_a_run_with_wsol_files(photo_folder, tmp_path, tiny_backbone):
    out = tmp_path / "out"
    run(
        str(photo_folder),
        out,
        settings(tiny_backbone, format="parquet,npy", npy_layout="wsol", map_dtype="float32"),
    )
    for image in read_images(out):
        best = max(image.records, key=lambda record: record.score)
        found = np.load(out / "npy" / f"{image.image_id}.npy")
        assert len(image.records) == 2
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, best.map, atol=1e-7)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"npy_layout": "wsol"}, "npy_layout 'wsol' does not keep all; add format 'parquet'"),
        ({"npy_layout": "irn", "normalize": False}, "'irn' does not keep all"),
        ({"npy_layout": "psa", "format": "parquet"}, "npy_layout 'psa' needs format 'npy'"),
        ({"npy_layout": "irm"}, "unknown npy_layout 'irm'"),
    ],
)
def test_settings_that_would_lose_maps_are_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        settings("lite0", **given)


@pytest.mark.parametrize(("layout", "refused"), [("irn", True), ("psa", True), ("wsol", False)])
def test_ids_that_differ_by_their_extension_alone(tmp_path, draw, tiny_backbone, layout, refused):
    from PIL import Image

    for name in ("a.png", "a.bmp", "b.png"):
        Image.fromarray(draw(20, 24)).save(tmp_path / name)
    config = settings(tiny_backbone, npy_layout=layout, format="parquet,npy")
    if not refused:
        run(str(tmp_path), tmp_path / "out", config)
        assert len(list((tmp_path / "out" / "npy").iterdir())) == 3
        return
    words = "two rows have the NPY file \\(its id less the extension\\) 'a'; make ids unique"
    with pytest.raises(SessError, match=words):
        run(str(tmp_path), tmp_path / "out", config)

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import RunConfig, read_maps, run
from pipeline.figures import draw_patches
from pipeline.images import read_rgb
from pipeline.report import write_report
from sess_kernels import SESS, SESSConfig


@pytest.fixture
def with_patches(photo_folder, tmp_path):
    """A run over one photograph that stored its patches."""
    (photo_folder / "l.csv").write_text("image,label\ncat.jpg,285\n")
    config = RunConfig(
        engine="local",
        scales=3,
        pre_filter_ratio=0.3,
        keep_patches=True,
        map_dtype="uint16",
        labels=str(photo_folder / "l.csv"),
    )
    run(f"folder:{photo_folder}", tmp_path / "out", config)
    return read_rgb(str(photo_folder / "cat.jpg")), tmp_path / "out"


def test_a_run_stores_what_the_kernel_gives(with_patches):
    image, out = with_patches
    [record] = read_maps(out)
    torch.set_num_threads(1)
    explain = SESS(config=SESSConfig(scales=3, pre_filter_ratio=0.3))
    [[expected]] = explain([image], [[285]], keep_patches=True)
    assert len(record.patches) == len(expected.patches) == expected.n_kept == 9
    for found, wanted in zip(record.patches, expected.patches, strict=True):
        assert (found.scale, found.scaled_size, found.window) == (
            wanted.scale,
            wanted.scaled_size,
            wanted.window,
        )
        np.testing.assert_allclose(found.box, wanted.box, rtol=1e-6)
        assert found.score == pytest.approx(wanted.score)
        torch.testing.assert_close(found.map, wanted.map.clamp(0, 1), rtol=0, atol=1e-5)
    scores = [patch.score for patch in record.patches]
    assert scores == sorted(scores, reverse=True)


def test_the_picture_shows_each_map_in_its_window(with_patches):
    image, out = with_patches
    [record] = read_maps(out)
    sheet = draw_patches(image, record.patches, columns=4, limit=6, width=image.shape[1])
    assert sheet.width == 4 * (image.shape[1] + 6)
    cell = np.asarray(sheet)[3 : 3 + image.shape[0], 3 : 3 + image.shape[1]].astype(int)
    left, top, right, bottom = (round(side) for side in record.patches[0].box)
    inside = np.zeros(image.shape[:2], bool)
    inside[top : bottom + 1, left : right + 1] = True
    assert np.array_equal(cell[~inside], image[~inside])
    assert (cell[inside] != image[inside]).any(1).mean() > 0.9


def test_the_report_shows_them_on_request(with_patches, tmp_path):
    _, out = with_patches
    page = write_report(out, tmp_path / "page").read_text()
    assert "9 patches were kept" in page
    assert page.count("data:image/jpeg") == 4


def test_a_run_stores_none_unless_asked(photo_folder, tmp_path):
    Image.open(photo_folder / "sub" / "small.png").save(tmp_path / "one.png")
    (tmp_path / "t.csv").write_text("image,label\none.png,285\n")
    run(f"table:{tmp_path / 't.csv'}", tmp_path / "out", RunConfig(engine="local", scales=1))
    [record] = read_maps(tmp_path / "out")
    assert record.patches == ()

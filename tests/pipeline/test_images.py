import numpy as np
import pytest
from PIL import Image

from pipeline.images import image_size, read_rgb


def _checker(height=20, width=30):
    values = np.zeros((height, width, 3), np.uint8)
    values[:, width // 2 :] = (200, 100, 50)
    values[: height // 2, :, 2] += 40
    return values


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation):
    upright = _checker()
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(upright)
    if orientation in undo:
        stored = stored.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.png"
    stored.save(path, exif=exif)
    np.testing.assert_array_equal(read_rgb(str(path)), upright)
    assert image_size(str(path)) == upright.shape[:2]


def test_other_modes_become_rgb(tmp_path):
    rgb = Image.fromarray(_checker())
    for mode, ending in (("L", "png"), ("1", "png"), ("P", "png"), ("RGBA", "png"), ("LA", "png")):
        path = tmp_path / f"{mode}.{ending}"
        rgb.convert(mode).save(path)
        np.testing.assert_array_equal(read_rgb(str(path)), rgb.convert(mode).convert("RGB"))
    rgb.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100, subsampling=0)
    difference = read_rgb(str(tmp_path / "cmyk.jpg")).astype(int) - _checker()
    assert np.abs(difference).max() <= 6


def test_sixteen_bits_keep_their_high_byte(tmp_path):
    values = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    for ending in ("png", "tif"):
        path = tmp_path / f"deep.{ending}"
        Image.fromarray(values).save(path)
        expected = np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=2)
        np.testing.assert_array_equal(read_rgb(str(path)), expected)


def test_float_images_in_zero_to_one(tmp_path):
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)).save(tmp_path / "f.tif")
    assert read_rgb(str(tmp_path / "f.tif"))[0, :, 0].tolist() == [0, 127, 255]


def test_what_is_no_image_raises(tmp_path):
    (tmp_path / "a.jpg").write_text("no")
    whole = tmp_path / "b.jpg"
    Image.fromarray(_checker(200, 300)).save(whole)
    whole.write_bytes(whole.read_bytes()[:900])
    assert image_size(str(whole)) == (200, 300)
    for name in ("a.jpg", "b.jpg", "missing.jpg"):
        with pytest.raises(OSError, match=r".+"):
            read_rgb(str(tmp_path / name))

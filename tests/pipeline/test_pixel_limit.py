"""Files that claim more pixels than there is memory for."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from pipeline.images import image_size, read_rgb
from sess_kernels import SessError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # PIL's


def _png(height, width):
    """A PNG that claims a size and has pixels of one row."""

    def chunk(name, content):
        whole = name + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1 + 3 * width))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    )


def _webp(height, width):
    """The first bytes of a WebP that claims a size, and nothing of its pixels."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4) + size
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


@pytest.mark.parametrize("make", [_png, _webp])
def test_an_image_that_claims_too_many_pixels_is_never_decoded(tmp_path, monkeypatch, make):
    def take_memory(image):
        raise AssertionError(f"memory for {image.size} pixels")

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", take_memory)
    path = tmp_path / "bomb"
    path.write_bytes(make(16_000, 15_000))
    for call in (image_size, read_rgb):
        with pytest.raises(
            SessError, match=r"240000000 pixels, more than the limit of 200000000; raise --max-pix"
        ):
            call(str(path), max_pixels=200_000_000)
    assert image_size(str(path), max_pixels=240_000_000) == (16_000, 15_000)


def test_formats_that_hold_other_images_are_not_opened(tmp_path):
    image = _png(16_000, 15_000)
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(image), 22)
    (tmp_path / "a.png").write_bytes(struct.pack("<HHH", 0, 1, 1) + entry + image)  # an icon
    (tmp_path / "b.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    for name in ("a.png", "b.png"):
        with pytest.raises(OSError, match="is no image of a known format"):
            image_size(str(tmp_path / name))


def test_the_limit_is_exact_and_can_be_raised(tmp_path):
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    path = str(tmp_path / "a.png")
    assert read_rgb(path, max_pixels=600).shape == (20, 30, 3)
    for call in (image_size, read_rgb):
        with pytest.raises(SessError, match=r"600 pixels.* limit of 599"):
            call(path, max_pixels=599)
    (tmp_path / "b.png").write_bytes(_png(30_000, 30_000))
    with pytest.raises(SessError, match=r"900000000 pixels.* limit of 268435456"):
        image_size(str(tmp_path / "b.png"))
    assert image_size(str(tmp_path / "b.png"), max_pixels=10**9) == (30_000, 30_000)

import io
import struct

import numpy as np
import pyarrow as pa
import pyarrow.fs as pa_fs
import pytest
from PIL import Image

from pipeline.images import image_size, read_rgb

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # PIL's


def _checker(height=20, width=30):
    values = np.zeros((height, width, 3), np.uint8)
    values[:, width // 2 :] = (200, 100, 50)
    values[: height // 2, :, 2] += 40
    return values


@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation, ending):
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
    path = tmp_path / f"photo.{ending}"
    stored.save(path, exif=exif, **({"lossless": True} if ending == "webp" else {}))
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


class CountingFiles(pa_fs.FileSystemHandler):
    """A store of one file that counts the requests and the bytes of its answers."""

    def __init__(self, content):
        self.content = content
        self.asked = []

    def open_input_file(self, path):
        answer = io.BytesIO(self.content)
        read = answer.read

        def counted(size=-1):
            found = read(size)
            self.asked.append(len(found))
            return found

        answer.read = counted
        return pa.PythonFile(answer, mode="r")

    def __eq__(self, other):
        return self is other


for _name in pa_fs.FileSystemHandler.__abstractmethods__ - {"open_input_file"}:
    setattr(CountingFiles, _name, lambda self, *arguments: None)
CountingFiles.__abstractmethods__ = frozenset()


@pytest.fixture
def store(monkeypatch):
    """Puts a file into a store and returns what counts its requests."""

    def put(content):
        files = CountingFiles(content)
        found = pa_fs.PyFileSystem(files)
        monkeypatch.setattr("pipeline.stores.file_system", lambda uri: (found, uri))
        return files

    return put


def _encoded(kind, **options):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind, **options)
    return buffer.getvalue()


TURNED = Image.Exif()
TURNED[0x0112] = 6


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"exif": TURNED}),
        ("JPEG", {"progressive": True, "icc_profile": bytes(3000)}),
        ("PNG", {}),
        ("PNG", {"exif": TURNED}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"icc_profile": bytes(100)}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"exif": TURNED}),
    ],
)
def test_a_size_costs_one_request_of_16_kb(store, kind, options):
    content = _encoded(kind, **options)
    assert len(content) > 3 * 2**14
    files = store(content)
    size = (400, 300) if "exif" in options else (300, 400)
    assert image_size("bucket/a") == size
    assert files.asked == [2**14]


@pytest.mark.parametrize(
    ("kind", "options", "size", "share"),
    [
        ("JPEG", {"comment": bytes(60_000)}, (300, 400), 1),  # as long as a thumbnail may be
        ("TIFF", {"compression": "tiff_lzw", "exif": TURNED}, (400, 300), 0.2),  # tags at the end
        ("WEBP", {"exif": TURNED}, (400, 300), 1),
    ],
)
def test_longer_headers_are_read_to_their_end(store, kind, options, size, share):
    content = _encoded(kind, **options)
    if "comment" in options:
        content += bytes(400_000)
    files = store(content)
    assert image_size("bucket/a") == size
    assert len(files.asked) <= 4
    assert 2**14 < sum(files.asked) <= max(share * len(content), 5 * 2**14)


def test_orientation_after_the_pixels_of_a_png_is_left_out(store):
    content = _encoded("PNG", exif=TURNED)
    start = content.index(b"eXIf") - 4
    chunk = content[start : start + 12 + struct.unpack(">I", content[start : start + 4])[0]]
    end = content.index(b"IEND") - 4
    late = content[:start] + content[start + len(chunk) : end] + chunk + content[end:]
    assert Image.open(io.BytesIO(late)).getexif()[0x0112] == 6
    files = store(late)
    assert image_size("bucket/a") == (300, 400)
    assert files.asked == [2**14]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000"])
@pytest.mark.parametrize("length", [0, 5, 20, 40, 200])
def test_half_a_header_is_an_error(store, kind, length):
    store(_encoded(kind)[:length])
    try:
        size = image_size("bucket/a")
    except (OSError, SyntaxError):
        return
    assert size == (300, 400)  # these formats need no more

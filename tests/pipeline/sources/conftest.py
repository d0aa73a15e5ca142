"""Fixtures: an image as bytes, and tars."""

import io
import tarfile

import pytest
from PIL import Image


def encoded_image(pixels, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def encode():
    return encoded_image


@pytest.fixture
def png(draw):
    return encoded_image(draw(20, 30))


@pytest.fixture
def tar(tmp_path):
    """Writes files into a tar, in their order."""

    def write(name, files, **options):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, "w", **options) as made:
            for inside, content in files:
                about = tarfile.TarInfo(inside)
                about.size = len(content)
                made.addfile(about, io.BytesIO(content))
        return path

    return write

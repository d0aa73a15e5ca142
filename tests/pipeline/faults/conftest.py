"""Fixtures: drawn images, an undisturbed run of them, and one Ray cluster."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT), str(ROOT / "tests" / "pipeline"), os.environ.get("PYTHONPATH", "")]
)
sys.path.insert(0, str(ROOT / "tests" / "pipeline"))

from faults.runs import SETTINGS, Expected, Flags, rows_of  # noqa: E402
from faults.tiny import CLASSES  # noqa: E402
from pipeline import RunConfig, run  # noqa: E402

SIZES = ((48, 64), (64, 40), (56, 56))
N_IMAGES = 60


def paint(path, size, seed, marked=False):
    """Save an image of random blocks; a marked one is all red, no green."""
    blocks = np.random.default_rng(seed).integers(0, 231, (6, 6, 3), dtype=np.uint8)
    image = Image.fromarray(blocks).resize(size[::-1], Image.Resampling.BICUBIC)
    pixels = np.minimum(np.asarray(image), 230)
    if marked:
        pixels[..., 0], pixels[..., 1] = 255, 0
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="session")
def flags(tmp_path_factory):
    """The folder of flag files; processes that are started later inherit its name."""
    folder = tmp_path_factory.mktemp("flags")
    os.environ["SESS_FAULTS"] = str(folder)
    os.environ["OMP_NUM_THREADS"] = "1"
    return Flags(folder)


@pytest.fixture(autouse=True)
def _no_flags(flags):
    yield
    flags.clear()


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """A table of 60 images; that of row 31 is marked."""
    folder = tmp_path_factory.mktemp("images")
    lines = ["image,label"]
    for i in range(N_IMAGES):
        paint(folder / f"{i:03d}.png", SIZES[i % 3], i, marked=i == 31)
        lines.append(f"{i:03d}.png,{CLASSES[i % len(CLASSES)]}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return f"table:{folder / 'list.csv'}"


@pytest.fixture(scope="session")
def broken(source, tmp_path_factory):
    """The same table; behind every image comes a file that is none."""
    folder = tmp_path_factory.mktemp("broken")
    table = Path(source.removeprefix("table:"))
    header, *lines = table.read_text().splitlines()
    (folder / "bad.png").write_text("no image")
    rows = [f"image_id,{header}"]
    for i, line in enumerate(lines):
        rows.append(f"{line.partition(',')[0]},{table.parent}/{line}")
        rows.append(f"bad-{i},{folder}/bad.png,cube")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return f"table:{folder / 'list.csv'}"


@pytest.fixture(scope="session")
def _undisturbed(source, tmp_path_factory, flags):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    summary = run(source, out, RunConfig(engine="local", **SETTINGS))
    assert (summary.images, summary.failed) == (N_IMAGES, 0)
    return rows_of(out)


@pytest.fixture
def expected(_undisturbed, record_property):
    """The rows of a run that nothing disturbs, and the comparison with them."""
    return Expected(_undisturbed, record_property)


@pytest.fixture(scope="session")
def cluster(flags, tmp_path_factory):
    """A Ray cluster of one node with a feigned GPU and the least object store that Ray allows."""
    from faults.cluster import started

    spilled = tmp_path_factory.mktemp("spilled")
    with started(object_spilling_directory=str(spilled), num_cpus=2, num_gpus=1) as one:
        one.spilled = spilled
        yield one
    shutil.rmtree(spilled, ignore_errors=True)

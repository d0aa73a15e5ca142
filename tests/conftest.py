"""Fixtures: real photographs, the embedded backbone, drawn images."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from sess_kernels import load_backbone

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def _two_threads():
    """The number of threads is part of a map's bits, and stages set it."""
    torch.set_num_threads(2)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return request.param


@pytest.fixture(scope="session")
def lite0():
    return load_backbone("lite0")


@pytest.fixture(scope="session")
def chelsea():
    return data.chelsea()


@pytest.fixture(scope="session")
def golden():
    maps = np.load(GOLDEN / "reference_maps.npz")
    described = json.loads((GOLDEN / "reference_maps.json").read_text())
    return {key: (about, maps[key]) for key, about in described.items()}


@pytest.fixture
def agree(record_property):
    """Holds maps against their reference; the largest differences are told at the end."""

    def check(found, expected, at_most=1e-4):
        found, expected = torch.as_tensor(found), torch.as_tensor(expected)
        assert found.shape == expected.shape
        difference = (found - expected).abs().max().item()
        assert difference <= at_most  # false for NaN too
        record_property("agreed", (difference, at_most))

    return check


def pytest_terminal_summary(terminalreporter):
    """What tests have recorded: a table of faults, and the differences from references."""
    faults, told = [], {}
    for report in terminalreporter.getreports(""):
        for name, value in report.user_properties if report.when == "teardown" else ():
            if name == "fault":
                faults.append(value)
            if name == "agreed":
                test = report.nodeid.partition("[")[0]
                told[test] = [*map(max, value, told.get(test, value))]
    if faults:
        _show_faults(terminalreporter, faults)
    if told:
        terminalreporter.section("largest differences from references")
    for test, (largest, limit) in sorted(told.items()):
        terminalreporter.line(f"{largest:.1e} (at most {limit:.0e}) {test}")


def _show_faults(terminalreporter, faults):
    terminalreporter.section("faults")
    columns = "injected", "expected", "found", "duplicates", "failed", "bit-equal"
    terminalreporter.line(f"{'fault':54} {' '.join(columns)}")
    for fault, *counts, equal in sorted(faults):
        cells = [*map(str, counts), "yes" if equal else "NO"]
        cells = [cell.rjust(len(name)) for cell, name in zip(cells, columns, strict=True)]
        terminalreporter.line(f"{fault:54} {' '.join(cells)}")


def drawn(height, width, seed=0):
    """An image of random coloured blocks."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(scope="session")
def draw():
    return drawn


@pytest.fixture
def drawn_folder(tmp_path):
    """Makes a folder of drawn images of some sizes: 0.png, 1.png and so on."""

    def make(sizes):
        folder = tmp_path / "photos"
        folder.mkdir()
        for number, size in enumerate(sizes):
            Image.fromarray(drawn(*size, seed=number)).save(folder / f"{number}.png")
        return folder

    return make


@pytest.fixture
def photo_folder(tmp_path):
    """Six photographs of several sizes, one of them cut short, one no image, and a text file."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    cat = Image.fromarray(data.chelsea())
    cat.save(folder / "cat.jpg", quality=90)
    cat.resize((150, 100)).save(folder / "sub" / "small.png")
    Image.fromarray(data.coffee()).resize((120, 80)).save(folder / "coffee.webp")
    Image.fromarray(drawn(60, 90)).save(folder / "blocks.bmp")
    whole = (folder / "cat.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "not.jpg").write_text("this is no image")
    (folder / "notes.txt").write_text("not listed")
    return folder

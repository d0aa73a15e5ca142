"""The examples train on what ``sess export`` writes, and the loss falls."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from jobs.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTOS = {"chelsea": 285, "coffee": 967, "rocket": 657}
_VOC = "<annotation><object><name>{}</name><bndbox>{}</bndbox></object></annotation>"
_BOX = "<xmin>20</xmin><ymin>20</ymin><xmax>120</xmax><ymax>90</ymax>"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Photographs with pseudo-masks and pseudo-boxes of a run, and a truth for each."""
    folder = tmp_path_factory.mktemp("examples")
    for name in ("photos", "truth", "boxes-truth"):
        (folder / name).mkdir()
    rows = ["image,label"]
    for name, label in PHOTOS.items():
        small = Image.fromarray(getattr(data, name)()).resize((160, 120))
        for copy, photo in (("a", small), ("b", small.transpose(Image.Transpose.FLIP_LEFT_RIGHT))):
            photo.save(folder / "photos" / f"{name}-{copy}.jpg")
            rows.append(f"{name}-{copy}.jpg,{label}")
            mask = np.zeros((120, 160), np.uint8)
            mask[20:90, 20:120] = 1 + sorted(PHOTOS.values()).index(label)
            Image.fromarray(mask).save(folder / "truth" / f"{name}-{copy}.png")
    (folder / "photos" / "list.csv").write_text("\n".join(rows))
    source, out = folder / "photos" / "list.csv", folder / "out"
    settings = ["--scales", "1", "--engine", "local", "--device", "cpu", "--quiet"]
    assert main(["run", str(source), "--out", str(out), *settings]) == 0
    for to in ("masks", "voc"):
        dest = str(folder / to)
        assert main(["export", str(out), "--to", to, "--dest", dest, "--quiet"]) == 0
    for path in (folder / "voc" / "Annotations").iterdir():
        name = re.search("<name>(.*)</name>", path.read_text())[1]
        (folder / "boxes-truth" / path.name).write_text(_VOC.format(name, _BOX))
    return folder


def _trained(example, *arguments):
    """What an example prints: losses at the beginning and end, and its figure on the truth."""
    command = [sys.executable, EXAMPLES / example / "train.py", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    losses = re.search(r"loss (\S+) -> (\S+) in", done.stdout)
    figure = re.search(r"(?:mIoU|AP50) (\S+) on the true", done.stdout)
    return float(losses[1]), float(losses[2]), float(figure[1])


@pytest.mark.slow
def test_a_segmenter_learns_pseudo_masks(exported):
    first, last, miou = _trained(
        "wsss",
        *("--photographs", exported / "photos", "--masks", exported / "masks/SegmentationClass"),
        *("--truth", exported / "truth", "--classes", exported / "masks/classes.json"),
        *("--steps", 24, "--batch-size", 2, "--size", 128),
    )
    assert last < 0.7 * first
    assert 0 < miou <= 100


@pytest.mark.slow
def test_a_detector_learns_pseudo_boxes(exported):
    first, last, precision = _trained(
        "wsod",
        *("--photographs", exported / "photos", "--boxes", exported / "voc/Annotations"),
        *("--truth", exported / "boxes-truth", "--steps", 24, "--size", 96),
    )
    assert last < first
    assert 0 <= precision <= 100

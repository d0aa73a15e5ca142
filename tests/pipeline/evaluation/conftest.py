"""A run of drawn images with two classes each, and a truth that is drawn by lot."""

import csv

import numpy as np
import pytest

from pipeline import RunConfig, run

SIZES = ((60, 90), (90, 60), (48, 48), (70, 80), (33, 95), (64, 64))


@pytest.fixture
def photos(drawn_folder):
    return drawn_folder(SIZES)


@pytest.fixture
def make(photos, tmp_path, tiny_backbone):
    def made(name="out", **settings):
        settings = {"scales": 3, "labels": "predicted", "top_k": 2, "workers": 1} | settings
        config = RunConfig(backbone=tiny_backbone, engine="local", **settings)
        run(str(photos), tmp_path / name, config)
        return tmp_path / name

    return made


@pytest.fixture
def boxes(tmp_path):
    """True boxes by image and class, and the table that says so; image 5 is not in it."""
    generator, found = np.random.default_rng(3), {}
    for number, (height, width) in enumerate(SIZES[:5]):
        for index in range(5):
            left, top = generator.uniform(0, (width / 2, height / 2))
            right, bottom = generator.uniform((width / 2, height / 2), (width, height))
            found[f"{number}.png", index] = np.round([left, top, right, bottom])
    path = tmp_path / "boxes.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "label", "x0", "y0", "x1", "y1"])
        table.writerows([name, index, *box] for (name, index), box in found.items())
    return f"table:{path}", found

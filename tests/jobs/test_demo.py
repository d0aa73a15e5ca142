"""The demo as a stranger runs it: a process of its own, on Ray."""

import re
import subprocess
import sys

import numpy as np
import pytest

from pipeline import read_maps

OBJECTS = {  # x0, y0, x1, y1 in pixels of the photographs
    "chelsea.png": (60, 10, 400, 290),  # the cat's head
    "coffee.png": (165, 20, 400, 185),  # the cup's opening, above the middle of the photograph
    "camera.png": (265, 100, 400, 512),  # camera and tripod, right of the middle
    "motorcycle.png": (80, 90, 680, 480),
    "rocket.png": (280, 60, 370, 380),
}


@pytest.mark.slow
def test_demo(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "demo", "--out", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = {record.image_id: record for record in read_maps(tmp_path / "demo" / "run")}
    assert set(found) == set(OBJECTS)
    hits = 0
    for name, (x0, y0, x1, y1) in OBJECTS.items():
        y, x = np.unravel_index(found[name].map.argmax(), found[name].map.shape)
        hits += x0 <= x < x1 and y0 <= y < y1
    assert hits == len(OBJECTS)
    page = tmp_path / "demo" / "report" / "index.html"
    assert done.stdout.rstrip().endswith(f"open {page}")
    text = page.read_text()
    assert len(re.findall(r'<img src="data:image/jpeg;base64,[^"]{1000}', text)) == 20
    for words in (
        "Egyptian cat",
        "espresso",
        "photograph",
        "Grad-CAM",
        "SESS",
        "patches were kept",
    ):
        assert words in text

"""``sess evaluate`` on the command line."""

import json

import pytest
from PIL import Image

from jobs.cli import main


@pytest.fixture(scope="module")
def runs(tmp_path_factory, draw):
    """Two runs of three drawn images, and their true boxes."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "photos").mkdir()
    for number in range(3):
        Image.fromarray(draw(60, 80, seed=number)).save(folder / "photos" / f"{number}.png")
    rows = "".join(f"{number}.png,10,10,70,50\n" for number in range(3))
    (folder / "boxes.csv").write_text("image,x0,y0,x1,y1\n" + rows)
    for scales in (0, 1):
        flags = ["--labels", "predicted", "--scales", str(scales), "--engine", "local", "--quiet"]
        assert (
            main(["run", str(folder / "photos"), *flags, "--out", str(folder / str(scales))]) == 0
        )
    return folder


def test_two_runs_and_their_difference(runs, capsys):
    truth = f"table:{runs / 'boxes.csv'}"
    flags = ["--truth", truth, "--metric", "pointing,corloc", "--tolerance", "99", "--classes"]
    assert main(["evaluate", str(runs / "1"), str(runs / "0"), *flags]) == 0
    said = capsys.readouterr().out
    assert "difference" in said
    line = next(line for line in said.splitlines() if "pointing" in line and "100.0" in line)
    assert line.count("100.0 (100.0 to 100.0)") == 2
    assert "+0.0 (+0.0 to +0.0)" in line


def test_json_has_every_figure(runs, capsys):
    truth = f"table:{runs / 'boxes.csv'}"
    where = ["--dest", str(runs / "judged")]
    flags = ["--truth", truth, "--metric", "pointing", "insertion", "--limit", "2", *where]
    assert main(["evaluate", str(runs / "1"), *flags, "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["runs"].values()
    assert found["judged"] == {"pointing": 2, "insertion": 2}
    assert set(found["figures"]) >= {"pointing", "insertion", "deletion", "overall"}
    assert main(["evaluate", str(runs / "1"), *flags, "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_what_is_wrong_is_one_line(runs, capsys):
    assert main(["evaluate", str(runs / "1"), "--metric", "miou"]) == 2
    assert "metric miou needs to know what is true; give --truth" in capsys.readouterr().err
    assert main(["evaluate", str(runs / "nothing")]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_a_truth_of_other_images_is_noted(runs, capsys):
    (runs / "others.csv").write_text("image,x0,y0,x1,y1\nelse.png,10,10,70,50\n")
    flags = ["--truth", f"table:{runs / 'others.csv'}", "--dest", str(runs / "others")]
    assert main(["evaluate", str(runs / "1"), *flags]) == 0
    assert "note: pointing judged no map" in capsys.readouterr().out


def test_an_image_that_cannot_be_judged_is_told(runs, capsys, tmp_path):
    flags = ["--labels", "predicted", "--scales", "0", "--engine", "local", "--quiet"]
    copy = tmp_path / "copy.png"
    copy.write_bytes((runs / "photos" / "0.png").read_bytes())
    assert main(["run", str(tmp_path), *flags, "--out", str(tmp_path / "out")]) == 0
    copy.unlink()
    assert main(["evaluate", str(tmp_path / "out"), "--metric", "insertion"]) == 1
    assert "not judged: copy.png:" in capsys.readouterr().err

"""The benchmark of quality: boxes from a table, rules on the same maps, paired intervals."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.bench import bench
from jobs.benchmarks import BENCHMARKS, Setting
from jobs.benchmarks.judged import Judged, row_of
from jobs.benchmarks.quality import EVERY, read_boxes
from jobs.benchmarks.searched import COARSE, RANDOM, SEARCH
from pipeline.labels import LabelResolver
from sess_kernels import SESS, SESSConfig, SessError
from sess_kernels.metrics import MapQuery, insertion_deletion, mass_inside, pointing_hit

CATS = LabelResolver(["cat", "dog"], "toy")
HEADER = "image,label,x0,y0,x1,y1\n"


def _judged(hit, overlap=0.0):
    figures = {"pointing_game": float(hit), "mass_inside": 0.5 if hit else float("nan")}
    return Judged(figures, torch.full((1000,), overlap))


def test_boxes_of_a_table_by_file_and_class(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text(HEADER + "a/1.jpg,Cat,0,1,2.5,3\n1.jpg,0,4,4,5,5\n1.jpg,dog,0,0,9,9\n")
    found = read_boxes(path, CATS)
    assert {key: boxes.tolist() for key, boxes in found.items()} == {
        ("1.jpg", 0): [[0, 1, 2.5, 3], [4, 4, 5, 5]],
        ("1.jpg", 1): [[0, 0, 9, 9]],
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,label,x0\n1,cat,0\n", "no column y0"),
        (HEADER, "no column image"),
        (HEADER + "1,cat,0,0,1,1\n1,cat,0,0,wide,1\n", "line 3: a corner"),
        (HEADER + "1,cat,0,0,1\n", "line 2: a corner"),
        (HEADER + "1,horse,0,0,1,1\n", "horse"),
    ],
)
def test_faults_of_a_table_of_boxes_are_told(tmp_path, text, said):
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    with pytest.raises(SessError, match=said):
        read_boxes(path, CATS)


def test_a_table_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(SessError, match=r"none\.csv cannot be read as a CSV of boxes"):
        read_boxes(tmp_path / "none.csv", CATS)
    (tmp_path / "picture.csv").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(SessError, match=r"picture\.csv cannot be read as a CSV of boxes"):
        read_boxes(tmp_path / "picture.csv", CATS)


def test_differences_are_of_the_same_maps_and_intervals_over_photographs():
    mine = [_judged(True, 0.8), _judged(True, 0.8), _judged(False, 0.4)]
    theirs = [_judged(True, 0.8), _judged(False, 0.4), _judged(False, 0.4)]
    row = row_of(mine, theirs, [0, 0, 1])
    assert row["pointing_game"]["value"] == pytest.approx(2 / 3)
    assert row["pointing_game"]["difference"] == pytest.approx(1 / 3)
    # the first photograph alone differs by a half, the second by nothing
    assert (row["pointing_game"]["low"], row["pointing_game"]["high"]) == (0, 0.5)
    assert row["mass_inside"]["value"] == 0.5  # of the maps that have any
    assert row["max_box_acc_v2"]["value"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert row["max_box_acc_v2"]["difference"] == pytest.approx((0 + 1 / 3 + 1 / 3) / 3)
    # a photograph without boxes, here one between them, is none of those that are resampled
    assert row_of(mine, theirs, [0, 0, 2]) == row
    assert row_of(theirs, None, [0, 0, 1])["pointing_game"] == {"value": pytest.approx(1 / 3)}


def test_bench_of_photographs_with_boxes(chelsea, lite0, draw, tmp_path, capsys):
    for name, image in (("cat", chelsea), ("blocks", draw(150, 140))):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    (tmp_path / "list.csv").write_text("image,label\ncat.png,285|281\nblocks.png,7\n")
    (tmp_path / "boxes.csv").write_text(
        HEADER + "cat.png,285,100,20,330,300\nblocks.png,7,0,0,50,50\n"
    )
    out = tmp_path / "found.json"
    given = {"source": str(tmp_path / "list.csv"), "truth": str(tmp_path / "boxes.csv")}
    assert bench(what=("quality",), scales=2, images=2, labels="given", out=out, **given) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [row["what"] for row in rows] == [EVERY, SEARCH, COARSE, RANDOM]
    assert {(row["photographs"], row["maps"]) for row in rows} == {(2, 2)}  # 281 has no box
    every, *others = rows
    assert every["share_of_windows"] == 1
    assert len({row["share_of_windows"] for row in others}) == 1
    explain = SESS(lite0, config=SESSConfig(scales=2, pre_filter_ratio=0.9))
    cat, blocks = (one[0] for one in explain([chelsea, draw(150, 140)], [[285, 281], [7]]))
    boxes = torch.tensor([[100.0, 20, 330, 300]]), torch.tensor([[0.0, 0, 50, 50]])
    hits = [pointing_hit(one.map, box) for one, box in zip((cat, blocks), boxes, strict=True)]
    inside = [mass_inside(one.map, box) for one, box in zip((cat, blocks), boxes, strict=True)]
    assert every["pointing_game"]["value"] == np.mean(hits)
    assert every["mass_inside"]["value"] == pytest.approx(np.mean(inside))
    areas = [
        insertion_deletion(lite0, [MapQuery(image, one.map, index)])[0]
        for image, one, index in ((chelsea, cat, 285), (draw(150, 140), blocks, 7))
    ]
    expected = np.mean([one.insertion for one in areas])
    assert every["insertion"]["value"] == pytest.approx(expected, abs=1e-4)
    for row in others:
        for name in ("pointing_game", "max_box_acc_v2", "insertion", "deletion", "overall"):
            assert row[name]["value"] - every[name]["value"] == pytest.approx(
                row[name]["difference"], abs=1e-9
            )
            assert row[name]["low"] <= row[name]["difference"] <= row[name]["high"]
    assert "mass inside the boxes" in capsys.readouterr().out


def test_what_lacks_is_told():
    for given in ({}, {"source": "x", "truth": "y"}, {"source": "x", "labels": "given"}):
        with pytest.raises(SessError, match="give --source, --labels given and --truth"):
            BENCHMARKS["quality"](Setting(**given))

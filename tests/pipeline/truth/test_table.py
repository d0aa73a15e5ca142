import json
import pickle

import numpy as np
import pandas as pd
import pytest

from pipeline.truth import open_truth
from sess_kernels import SessError

NAMES = ["cat", "dog", "Crane", "crane"]


@pytest.fixture
def frame():
    """Boxes of 20 images in the order of a draw, with labels."""
    generator = np.random.default_rng(3)
    corners = generator.random((60, 2)) * 50
    return pd.DataFrame(
        {
            "image": [f"{number:02d}.jpg" for number in generator.integers(0, 20, 60)],
            "x0": corners[:, 0],
            "y0": corners[:, 1],
            "x1": corners[:, 0] + 1 + generator.random(60) * 40,
            "y1": corners[:, 1] + 1 + generator.random(60) * 40,
            "label": generator.choice(["0", "Dog"], 60),
            "difficult": generator.integers(0, 2, 60),
        }
    )


def stored(frame, path):
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    return path


def table(tmp_path, *lines):
    path = tmp_path / "boxes.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_boxes_are_those_of_pandas(frame, tmp_path, ending):
    path = stored(frame, tmp_path / f"boxes.{ending}")
    truth = pickle.loads(pickle.dumps(open_truth(str(path), NAMES)))
    for image, rows in frame.groupby("image"):
        found = truth.of(image, (100, 100))
        assert found.labelled
        assert found.faults == []
        expected = dict([*rows.groupby("label")])
        assert {("0", "Dog")[index] for index in found.classes} == {*expected}
        for index, one in found.classes.items():
            rows = expected[("0", "Dog")[index]]
            theirs = rows[["x0", "y0", "x1", "y1"]].to_numpy()
            assert np.allclose(one.boxes, theirs, atol=1e-5)
            assert one.difficult.tolist() == rows["difficult"].astype(bool).tolist()
    assert truth.of("20.jpg") is None


def test_without_labels_boxes_are_of_any_class(frame, tmp_path):
    path = stored(frame.drop(columns="label"), tmp_path / "boxes.csv")
    found = open_truth(f"table:{path}", NAMES).of("folder/05.jpg")
    assert not found.labelled
    assert found.classes[0] is found.classes[3]
    assert len(found.classes[0].boxes) == (frame["image"] == "05.jpg").sum()
    assert found.classes.get(4) is None
    assert 4 not in found.classes


def test_fractions_of_the_image(tmp_path):
    path = table(tmp_path, "image,x0,y0,x1,y1", "a.jpg,0.25,0.5,1,0.75", "a.jpg,0,0,2,1")
    truth = open_truth(f"table:{path}?unit=fraction", NAMES)
    found = truth.of("a.jpg", (100, 40))
    assert found.classes[1].boxes.tolist() == [[10, 50, 40, 75], [0, 0, 40, 100]]
    assert found.faults == [
        f"{path}: line 3: the box reaches beyond the image of 40x100 pixels; it is cut"
    ]
    with pytest.raises(SessError, match=r"has fractions; boxes of a\.jpg need its size"):
        truth.of("a.jpg")


def test_labels_of_another_table(tmp_path):
    path = table(tmp_path, "image,x0,y0,x1,y1", "a.jpg,1,2,3,4", "b.jpg,1,2,3,4")
    (tmp_path / "labels.csv").write_text("image,label\nimages/a.jpg,cat|dog\n")
    truth = open_truth(f"table:{path}?labels={tmp_path}/labels.csv", NAMES)
    assert sorted(truth.of("a.jpg").classes) == [0, 1]
    assert truth.of("b.jpg") is None
    assert truth.faults == [
        f"{path}: line 3: b.jpg has no label in {tmp_path}/labels.csv; it is left out"
    ]


def test_bad_rows_are_told_and_the_others_stay(tmp_path):
    path = table(
        tmp_path,
        "image,x0,y0,x1,y1,label",
        "a.jpg,1,2,3,4,cat",
        "a.jpg,1,2,wide,4,cat",
        "",
        "a.jpg,1,2,3",
        "a.jpg,1,2,3,4,cat,5",
        ",1,2,3,4,cat",
        "a.jpg,1,2,3,4,",
        "a.jpg,1,2,3,4,sofa",
        "a.jpg,1,2,3,4,crane",
        "a.jpg,3,2,1,4,cat",
        "a.jpg,-9,2,7,4,dog",
    )
    truth = open_truth(f"table:{path}", NAMES)
    assert truth.faults == [
        f"{path}: line 3: (1, 2, wide, 4) is no box of four numbers; it is left out",
        f"{path}: line 5 has not as many cells as the header; it is left out",
        f"{path}: line 6 has not as many cells as the header; it is left out",
        f"{path}: line 7 names no image; it is left out",
        f"{path}: line 8: a.jpg has no label; it is left out",
        f"{path}: line 10: class name 'crane' stands for the indices [2, 3]; give the index",
    ]
    found = truth.of("a.jpg")
    assert found.classes[0].boxes.tolist() == [[1, 2, 3, 4]]
    assert found.classes[1].boxes.tolist() == [[0, 2, 7, 4]]
    assert found.others == {"sofa": 1, "crane": 1}
    assert found.faults == [
        f"{path}: line 11: the box of 'cat' has no area; it is left out",
        f"{path}: line 12: the box of 'dog' reaches beyond the image; it is cut",
    ]


def test_bad_json_lines_are_told(tmp_path):
    path = tmp_path / "boxes.jsonl"
    good = {"image": "a.jpg", "x0": 1, "y0": 2, "x1": 3, "y1": 4, "labels": ["cat", 1]}
    path.write_text("\n".join([json.dumps(good), "{", "[1]", json.dumps(good | {"x1": None})]))
    truth = open_truth(f"table:{path}", NAMES)
    assert sorted(truth.of("a.jpg").classes) == [0, 1]
    assert [one.partition(": ")[2].partition(":")[0] for one in truth.faults] == [
        *("line 2", "line 3", "line 4")
    ]
    assert "(1, 2, None, 4) is no box" in truth.faults[2]


def test_what_cannot_be_used_is_told(tmp_path):
    path = table(tmp_path, "image,x0,y0,x1", "a.jpg,1,2,3")
    with pytest.raises(SessError, match="needs the columns image, x0, y0, x1, y1 but has: image"):
        open_truth(str(path), NAMES)
    path = table(tmp_path, "image,x0,y0,x1,y1,label", "a.jpg,1,2,3,4,sofa")
    with pytest.raises(SessError, match=r"none of its classes \(sofa\) is one of the run's"):
        open_truth(str(path), NAMES)
    with pytest.raises(SessError, match="unknown unit 'fractions'; did you mean 'fraction'"):
        open_truth(f"{path}?unit=fractions", NAMES)
    for said in ("no.csv", "no.parquet", "no.jsonl"):
        with pytest.raises(SessError, match="does not exist; check the path"):
            open_truth(said, NAMES)
    with pytest.raises(SessError, match=r"unknown kind of table '\.txt'"):
        open_truth("table:boxes.txt", NAMES)
    (tmp_path / "bad.parquet").write_text("what")
    with pytest.raises(SessError, match=r"table .*bad\.parquet cannot be read"):
        open_truth(f"{tmp_path}/bad.parquet", NAMES)

"""What a source leaves out is told before a run, with counts."""

import json

import pytest
from PIL import Image

from jobs.listed import left_out
from pipeline import RunConfig, plan, read_maps, retry, run
from pipeline.files import Folder
from pipeline.record import read_record
from pipeline.scheduler import Plan
from sess_kernels import SessError


@pytest.fixture
def listing(tmp_path, draw, tiny_backbone):
    """A table of five images of which two can be explained, and settings to run it."""
    for name in ("1.png", "2.png", "3.png", "4.png"):
        Image.fromarray(draw(40, 50)).save(tmp_path / name)
    rows = ["image,labels", "1.png,cat|sink", "2.png,", "3.png,sink", "4.png,Cat", "gone.png,cat"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    (tmp_path / "groups.json").write_text(json.dumps({"cat": [0, 1], "Sink": []}))
    config = RunConfig(
        engine="local",
        backbone=tiny_backbone,
        scales=1,
        device="cpu",
        class_groups=str(tmp_path / "groups.json"),
    )
    return str(tmp_path / "list.csv"), config


def test_images_and_labels_that_have_no_map_are_counted(listing, tmp_path):
    source, config = listing
    planned = plan(source, tmp_path / "out", config)
    assert (planned.n_images, planned.n_failed, planned.n_missing) == (3, 1, 1)
    assert left_out(planned) == [
        "1 image is missing: no such file",
        "1 image has no label and is left out",
        "2 labels that no output of the backbone stands for: sink (2)",
    ]
    assert Plan.of(read_record(Folder.of(tmp_path / "out"))["dataset"]) == planned
    assert run(source, tmp_path / "out", config).failed == 1
    found = [(one.image_id, one.class_name) for one in read_maps(tmp_path / "out")]
    assert sorted(found) == [("1.png", "cat"), ("4.png", "cat")]


def test_a_file_that_came_back_is_not_missing_any_more(listing, tmp_path):
    source, config = listing
    run(source, tmp_path / "out", config)
    (tmp_path / "1.png").rename(tmp_path / "gone.png")
    planned = []
    assert retry(tmp_path / "out", on_plan=planned.append).failed == 0
    assert planned[0].n_missing == 0
    assert planned[0].listed["unlabelled"] == 1


def test_a_source_without_a_usable_label_is_refused(listing, tmp_path):
    source, config = listing
    (tmp_path / "list.csv").write_text("image,labels\n1.png,sink\n2.png,\n")
    with pytest.raises(SessError, match=r"no image has a label that an output .* stands for"):
        plan(source, tmp_path / "out", config)


def test_many_kinds_of_faults_are_told_shortly():
    without = {f"class {number}": number for number in range(1, 9)}
    faults = [f"train.json: annotation {number} has no image" for number in range(20)]
    listed = {"duplicates": 2, "without_outputs": without, "n_faults": 30, "faults": faults}
    assert left_out(Plan(1, 9, 9, 1, 3, "", n_missing=0, listed=listed)) == [
        "3 images cannot be read or are too large",
        "2 images are listed again and left out",
        "36 labels that no output of the backbone stands for: class 8 (8), class 7 (7), "
        "class 6 (6), class 5 (5), class 4 (4) and 3 more classes",
        *faults[:5],
        "25 more faults of the source",
    ]

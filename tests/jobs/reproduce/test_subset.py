import csv

import pytest
from PIL import Image

from jobs.reproduce.settings import Data, ReproduceConfig
from jobs.reproduce.subset import write_subset
from pipeline.files import Folder
from pipeline.sources import open_source
from sess_kernels import SessError


@pytest.fixture
def source(tmp_path, draw):
    """Twelve images below folders, in a table with ids of their own; one has no label."""
    with (tmp_path / "list.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "image_id", "labels"])
        for number in range(12):
            Image.fromarray(draw(8, 9)).save(tmp_path / f"{number}.png")
            rows.writerow([f"{number}.png", f"id{number:02d}", "" if number == 3 else "1|tabby"])
    return Data.of(str(tmp_path / "list.csv"))


def ids_of(subset):
    return subset.table["image_id"].to_pylist()


def test_a_subset_is_random_repeatable_and_nested(source, tmp_path):
    out = Folder.of(tmp_path / "out")
    eight = write_subset(source, ReproduceConfig(), 8, 0, out)
    assert (eight.table.num_rows, eight.of) == (8, 11)
    assert ids_of(eight) == sorted(ids_of(eight)) != [f"id{n:02d}" for n in range(8)]
    assert "id03" not in ids_of(eight)
    again = write_subset(source, ReproduceConfig(), 8, 0, out)
    assert (again.source, again.digest) == (eight.source, eight.digest)
    three = write_subset(source, ReproduceConfig(limit=3), 8, 0, out)
    assert set(ids_of(three)) < set(ids_of(eight))
    assert ids_of(write_subset(source, ReproduceConfig(), 8, 1, out)) != ids_of(eight)
    assert write_subset(source, ReproduceConfig(), None, 0, out).table.num_rows == 11


def test_its_table_is_a_source_with_the_same_rows(source, tmp_path):
    subset = write_subset(source, ReproduceConfig(), 4, 0, Folder.of(tmp_path / "out"))
    [read] = open_source(subset.source)
    assert read.select(["image_id", "uri", "labels"]).to_pylist() == (
        subset.table.select(["image_id", "uri", "labels"]).to_pylist()
    )
    assert read["labels"][0].as_py() == ["1", "tabby"]


def test_labels_may_come_from_a_table_or_be_predicted(source, tmp_path):
    out = Folder.of(tmp_path / "out")
    images = Data.of(f"folder:{tmp_path}")
    (tmp_path / "labels.csv").write_text("image,label\n1.png,7\n2.png,9\n")
    given = ReproduceConfig(labels=str(tmp_path / "labels.csv"))
    subset = write_subset(images, given, 1, 0, out)
    assert (subset.of, subset.table["labels"][0].as_py()) in ((2, ["7"]), (2, ["9"]))
    predicted = write_subset(images, ReproduceConfig(labels="predicted"), 5, 0, out)
    assert (predicted.of, predicted.table["labels"].null_count) == (12, 5)
    with pytest.raises(SessError, match="carries no labels"):
        write_subset(images, ReproduceConfig(), 5, 0, out)

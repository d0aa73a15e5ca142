import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import ClassLabel, Image, load_dataset
from PIL import Image as PILImage

from pipeline.sinks import huggingface
from sess_kernels import SessError


@pytest.fixture
def load(tmp_path):
    def call(dest):
        return load_dataset(str(dest), split="train", cache_dir=str(tmp_path / "cache"))

    return call


def test_datasets_reads_it(out, exported, load, map_scores, tmp_path):
    dest, summary = exported(out, "huggingface", masks=True, background=0.5, box_score="map")
    rows = load(dest)
    assert rows.features["image"] == rows.features["saliency"] == rows.features["mask"] == Image()
    assert rows.features["label"] == ClassLabel(names=["bird", "cat", "dog"])
    assert len(rows) == 4
    assert rows["image_id"][:] == ["a/1.jpg", "2.jpg", "2.jpg", "none.jpg"]
    assert [rows.features["label"].int2str(one) for one in rows["label"]] == [
        *("cat", "dog", "bird", "cat"),
    ]
    cat, bird = rows[0], rows[2]
    photograph = PILImage.open(tmp_path / "photos/a/1.jpg")
    assert (np.asarray(cat["image"]) == np.asarray(photograph)).all()
    expected = np.zeros((60, 80), np.uint8)
    expected[20:50, 10:40] = 1
    assert (np.asarray(cat["saliency"]) == 255 * expected).all()
    assert (np.asarray(cat["mask"]) == 2 * expected).all()
    assert cat["mask"].mode == "P"
    assert cat["score"] == pytest.approx(0.9)
    assert cat["bboxes"] == [[10, 20, 40, 50]]
    assert cat["box_scores"] == pytest.approx([map_scores(out)["a/1.jpg", "cat", 10, 20]])
    assert {*map(tuple, bird["bboxes"])} == {(50, 10, 80, 30), (50, 40, 60, 60)}
    assert rows[3]["bboxes"] == []
    assert (summary.images, summary.skipped) == (3, 1)


def test_photographs_may_stay_where_they_are(out, exported, load, tmp_path):
    dest, _ = exported(out, "huggingface", images="none")
    rows = load(dest)
    assert "mask" not in rows.features
    assert rows[0]["image"].size == (80, 60)
    stored = pq.read_table(next((dest / "data").iterdir()))["image"][0].as_py()
    assert stored == {"bytes": None, "path": str(tmp_path / "photos/a/1.jpg")}
    with pytest.raises(SessError, match="unknown images of this export 'link'"):
        exported(out, "huggingface", "other", images="link")


def test_files_are_cut_and_numbered(make_out, drawn, exported, load, monkeypatch):
    monkeypatch.setattr(huggingface, "_IMAGES", 2)
    monkeypatch.setattr(huggingface, "_ROWS", 1)
    out = make_out(*(drawn(f"{n}.png", {n % 3: [(0, 0, 9, 9)]}, (8, 9)) for n in range(5)))
    dest, _ = exported(out, "huggingface")
    names = sorted(path.name for path in (dest / "data").iterdir())
    assert names == [f"train-0000{n}-of-00003.parquet" for n in range(3)]
    assert load(dest)["image_id"][:] == [f"{n}.png" for n in range(5)]


def test_the_card(out, exported):
    dest, _ = exported(out, "huggingface")
    _, head, text = (dest / "README.md").read_text().split("---\n", 2)
    told = yaml.safe_load(head)
    assert "license" not in told
    assert "# license: " in head
    assert told["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    run = json.loads(text.split("```json\n")[1].split("```")[0])
    assert (run["config"], run["resolved"]["backbone"]) == ({"method": "gradcam"}, "lite0")
    assert "| `saliency` |" in text
    assert "| `mask` |" not in text


def test_pandas_reads_the_pictures(out, exported):
    dest, _ = exported(out, "huggingface")
    rows = pq.read_table(dest / "data").to_pandas()
    with PILImage.open(io.BytesIO(rows["saliency"][0]["bytes"])) as image:
        assert image.size == (80, 60)

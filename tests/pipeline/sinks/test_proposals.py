import json
import pickle
import pickletools

import numpy as np
import pytest

CAT, DOG = (10, 20, 40, 50), (0, 0, 30, 60)


def load(path):
    """The content, made of names alone that numpy 1 has too."""
    content = path.read_bytes()
    named = [text for op, text, _ in pickletools.genops(content) if op.name == "SHORT_BINUNICODE"]
    assert not any("numpy._core" in text for text in named)
    return pickle.loads(content)


def test_detectron2_loads_them(out, exported, map_scores):
    """What its ``load_proposals_into_dataset`` takes: by str(image_id), xyxy, logits to sort by."""
    dest, _ = exported(out, "proposals", box_score="product")
    found = load(dest / "proposals.pkl")
    assert set(found) == {"ids", "boxes", "objectness_logits", "bbox_mode"}
    assert (found["ids"], found["bbox_mode"]) == (["a/1", "2", "none"], 0)
    assert [one.dtype for one in found["boxes"] + found["objectness_logits"]] == [np.float32] * 6
    assert [one.shape for one in found["boxes"]] == [(1, 4), (3, 4), (0, 4)]
    assert found["boxes"][0].tolist() == [list(CAT)]
    assert list(DOG) in found["boxes"][1].tolist()
    [logit] = found["objectness_logits"][0]
    score = 0.9 * map_scores(out)["a/1.jpg", "cat", 10, 20]
    assert 1 / (1 + np.exp(-logit)) == pytest.approx(score, abs=1e-5)
    assert all((np.diff(one) <= 0).all() for one in found["objectness_logits"])


def test_pcl_loads_them(out, exported, map_scores):
    """What its ``_add_proposals_from_file`` takes: sortable ids, edges inside the box."""
    dest, _ = exported(out, "proposals")
    found = load(dest / "proposals_pcl.pkl")
    assert set(found) == {"indexes", "boxes", "scores"}
    order = np.argsort(found["indexes"])
    assert [found["indexes"][place] for place in order] == [1, 2, 3]
    assert found["boxes"][0].tolist() == [[10, 20, 39, 49]]
    height, width = (found["boxes"][0][0, 2:] - found["boxes"][0][0, :2] + 1)[::-1]
    assert (height, width) == (30, 30)
    assert found["scores"][0] == pytest.approx([map_scores(out)["a/1.jpg", "cat", 10, 20]])


def test_a_score_of_1_has_a_logit(make_out, drawn, exported):
    out = make_out(drawn("1.png", {0: [(0, 0, 80, 60)]}, scores={0: 1.0}))
    dest, _ = exported(out, "proposals", box_score="class")
    [logits] = load(dest / "proposals.pkl")["objectness_logits"]
    assert (logits > 10).all()
    assert np.isfinite(logits).all()


def test_ids_of_a_coco_file(out, exported, tmp_path):
    ids = {"a/1.jpg": 581, "2.jpg": 7, "none.jpg": 9}
    images = [{"id": number, "file_name": name} for name, number in ids.items()]
    (tmp_path / "t.json").write_text(json.dumps({"images": images}))
    dest, _ = exported(out, "proposals", ids_from=str(tmp_path / "t.json"))
    assert load(dest / "proposals.pkl")["ids"] == [581, 7, 9]
    assert load(dest / "proposals_pcl.pkl")["indexes"] == [581, 7, 9]

"""Evaluations: figures as by hand, going on, faults of single images, differences."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipeline import read_maps
from pipeline.evaluation import (
    EvaluationConfig,
    difference,
    evaluate,
    failed_images,
    read_evaluations,
)
from pipeline.images import read_rgb
from sess_kernels import SessError, load_backbone
from sess_kernels.metrics import (
    MapQuery,
    best_ious,
    insertion_deletion,
    is_localised,
    max_box_accuracy,
    pointing_hit,
)
from sess_kernels.pseudo import pseudo_boxes

METRICS = ("pointing", "max_box_acc", "corloc", "localisation")


def judge(out, truth, settings, variants=None, **more):
    """An evaluation in ``OUT/evaluation``, where tests find it."""
    return evaluate(out, truth, settings, variants, **{"dest": out / "evaluation"} | more)


def config(*metric, **settings):
    return EvaluationConfig(metric=metric or METRICS, engine="local", workers=1, **settings)


def test_figures_are_those_of_the_maps_one_by_one(make, boxes):
    said, true = boxes
    out = make()
    found = judge(out, said, config(tolerance=3))[""]
    judged = [one for one in read_maps(out) if (one.image_id, one.class_index) in true]
    pairs = [
        (torch.from_numpy(m.map), torch.from_numpy(true[m.image_id, m.class_index])) for m in judged
    ]
    pairs = [(map_, box[None].float()) for map_, box in pairs]
    hits = np.array([pointing_hit(map_, box, 3) for map_, box in pairs])
    classes = np.array([one.class_index for one in judged])
    by_class = [hits[classes == index].mean() for index in sorted(set(classes))]
    assert found.figures["pointing"].value == pytest.approx(np.mean(by_class))
    ious = torch.stack([best_ious(*pair) for pair in pairs])
    assert found.figures["max_box_acc_v2"].value == pytest.approx(max_box_accuracy(ious))
    located = [is_localised(pseudo_boxes(map_).boxes, box) for map_, box in pairs]
    assert found.figures["corloc"].value == pytest.approx(np.mean(located))
    assert found.figures["top1"].value == pytest.approx(0.5, abs=0.2)  # the best of two classes
    assert (found.images, found.maps, found.failed) == (6, 12, 0)
    assert found.judged == dict.fromkeys(METRICS, 10)
    for one in found.figures.values():
        assert one.low <= one.value <= one.high or np.isnan(one.value)
    name = judged[0].class_name
    hit = hits[classes == judged[0].class_index].mean()
    assert found.classes[name]["pointing"] == pytest.approx(hit)


def test_insertion_is_that_of_the_kernel(make, tiny_backbone):
    out = make()
    found = judge(out, None, config("insertion", "time"))[""]
    backbone = load_backbone(tiny_backbone)
    uris = {f"{n}.png": read_rgb(str(out.parent / "photos" / f"{n}.png")) for n in range(6)}
    queries = [
        MapQuery(uris[one.image_id], torch.from_numpy(one.map), one.class_index)
        for one in read_maps(out)
    ]
    areas = insertion_deletion(backbone, queries, batch_size=4)
    assert found.figures["insertion"].value == np.mean([one.insertion for one in areas])
    assert found.figures["deletion"].value == np.mean([one.deletion for one in areas])
    assert found.figures["overall"].value == pytest.approx(np.mean([one.overall for one in areas]))
    assert found.figures["seconds"].value > 0
    rows = pq.read_table(out / "evaluation" / "images").to_pylist()
    known = {(q.class_index, round(a.insertion, 12)) for q, a in zip(queries, areas, strict=True)}
    assert {(row["class_index"], round(row["insertion"], 12)) for row in rows} == known


def test_variants_are_judged_as_runs_with_their_settings(make, boxes, tmp_path):
    every = make("every", keep_patches=True, map_dtype="float32")
    changes = {
        "few": {"scales": 2},
        "best": {"pre_filter_ratio": 0.5},
        "alike": {"channel_weights": "none", "theta": 0.1},
    }
    metrics = "pointing", "insertion", "max_box_acc"
    found = judge(every, boxes[0], config(*metrics), changes)
    assert list(found) == list(changes)
    for name, settings in changes.items():
        alone = make(name, map_dtype="float32", **settings)
        assert judge(alone, boxes[0], config(*metrics))[""].figures == found[name].figures
        changed = difference(every / "evaluation", alone / "evaluation", name)
        assert {tuple(one) for one in changed.values() if one.value == one.value} == {(0, 0, 0)}


def test_an_evaluation_goes_on_where_it_stopped(make, boxes, tmp_path, monkeypatch):
    out = make()
    monkeypatch.setattr("pipeline.evaluation.begin._TOGETHER", 2)
    whole = judge(out, boxes[0], config(), dest=tmp_path / "whole")[""]

    def stop(images):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(out, boxes[0], config(), on_images=stop)
    with pytest.raises(SessError, match="no finished evaluation"):
        read_evaluations(out / "evaluation")
    left = []
    found = judge(out, boxes[0], config(), on_begin=left.append)[""]
    assert left == [4]
    assert found.figures == whole.figures
    assert read_evaluations(out / "evaluation")[""].figures["pointing"] == found.figures["pointing"]
    judge(out, boxes[0], config(), on_begin=left.append)
    assert left == [4, 0]


def test_other_settings_need_another_folder_or_overwrite(make, boxes):
    out = make()
    judge(out, boxes[0], config("pointing"))
    with pytest.raises(SessError, match=r"tolerance 5 \(was 0\).*--overwrite"):
        judge(out, boxes[0], config("pointing", tolerance=5))
    found = judge(out, boxes[0], config("pointing", tolerance=500), overwrite=True)[""]
    assert found.figures["pointing"].value == 1
    record = json.loads((out / "evaluation" / "evaluation.json").read_text())
    assert (record["state"], record["settings"]["tolerance"]) == ("complete", 500)


def test_every_way_to_judge_has_a_folder_of_its_own(make, boxes):
    out = make()
    ways = [config("pointing"), config("pointing", tolerance=5), config("corloc", "pointing")]
    places = [evaluate(out, boxes[0], one)[""].place for one in ways]
    assert len(set(places)) == 3
    assert places[2].startswith(f"{out}/evaluation/corloc-pointing-")
    left = []
    evaluate(out, boxes[0], ways[0], on_begin=left.append)
    assert left == [0]
    assert read_evaluations(places[1])[""].place == places[1]


def test_overwriting_judges_anew(make, photos):
    out = make()
    (photos / "2.png").rename(photos / "away")
    assert judge(out, None, config("insertion"))[""].failed == 1
    (photos / "away").rename(photos / "2.png")
    assert judge(out, None, config("insertion"))[""].failed == 1
    assert judge(out, None, config("insertion"), overwrite=True)[""].failed == 0


def test_overwriting_leaves_what_is_not_its_own(make, boxes):
    out = make()
    judge(out, boxes[0], config("pointing"), dest=out)
    found = judge(out, boxes[0], config("corloc"), dest=out, overwrite=True)[""]
    assert found.judged == {"corloc": 10}
    assert len(list(read_maps(out))) == 12


def test_another_run_in_the_same_folder_is_judged_anew(make, boxes):
    out = make()
    place = out / "run.json"
    judge(out, boxes[0], config("pointing"), dest=out.parent / "judged")
    place.write_text(place.read_text().replace('"started": "20', '"started": "19'))
    with pytest.raises(SessError, match="run_started"):
        judge(out, boxes[0], config("pointing"), dest=out.parent / "judged")


def test_a_photograph_that_is_gone_or_replaced_is_told(make, photos, draw):
    out = make()
    (photos / "1.png").unlink()
    (photos / "3.png").write_bytes((photos / "0.png").read_bytes())
    found = judge(out, None, config("insertion"))[""]
    assert (found.images, found.failed, found.judged["insertion"]) == (4, 2, 8)
    told = dict(failed_images(out / "evaluation"))
    assert "No such file" in told["1.png"]
    assert "90x60 pixels, but its maps have 80x70; was it replaced?" in told["3.png"]


@pytest.mark.parametrize(
    ("metric", "said"),
    [("pointing", "give --truth KIND:PATH"), ("corloc", "with boxes"), ("miou", "with masks")],
)
def test_a_metric_without_what_it_needs_is_refused(make, metric, said):
    with pytest.raises(SessError, match=said):
        judge(make(), None, config(metric))


def test_boxes_are_no_masks(make, boxes):
    with pytest.raises(SessError, match=r"miou needs masks but .*boxes.csv has none"):
        judge(make(), boxes[0], config("miou"))


def test_evaluations_that_differ_are_not_compared(make, boxes, tmp_path):
    out = make()
    judge(out, boxes[0], config("pointing"))
    judge(out, boxes[0], config("pointing", tolerance=5), dest=tmp_path / "other")
    with pytest.raises(SessError, match="differ in tolerance"):
        difference(out / "evaluation", tmp_path / "other")


def test_a_difference_is_that_of_the_images_both_have(make, boxes, tmp_path):
    out = make()
    judge(out, boxes[0], config("pointing", limit=2), dest=tmp_path / "few")
    judge(out, boxes[0], config("pointing"))
    # another limit is another setting, so the record is told otherwise here
    place = tmp_path / "few" / "evaluation.json"
    record = json.loads(place.read_text())
    record["settings"]["limit"] = None
    place.write_text(json.dumps(record))
    assert difference(out / "evaluation", tmp_path / "few")["pointing"] == (0, 0, 0)


def test_all_faults_of_settings_are_told_at_once():
    with pytest.raises(SessError) as caught:
        EvaluationConfig(metric=("pointings",), share=2, tolerance=-1, engine="spark", resamples=0)
    for said in ("pointings", "share", "tolerance", "spark", "resamples"):
        assert said in str(caught.value)

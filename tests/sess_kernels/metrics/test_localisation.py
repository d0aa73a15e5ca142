"""CorLoc and average precision: by hand, and beside COCO's evaluation and scikit-learn."""

import contextlib
import io

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from sess_kernels.metrics.localisation import average_precision, is_localised, judge_boxes

TRUE = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])


def test_the_best_box_alone_counts():
    right, wrong = TRUE[1:], torch.tensor([[50.0, 50, 60, 60]])
    assert is_localised(torch.cat([right, wrong]), TRUE)
    assert not is_localised(torch.cat([wrong, right]), TRUE)
    assert not is_localised(torch.zeros(0, 4), TRUE)
    assert not is_localised(right, torch.zeros(0, 4))
    assert is_localised(torch.tensor([[0.0, 0, 10, 5]]), TRUE)  # 0.5 exactly
    assert not is_localised(torch.tensor([[0.0, 0, 10, 5]]), TRUE, iou=0.51)


def test_boxes_are_right_once_and_difficult_ones_count_neither_way():
    found = torch.tensor([[0.0, 0, 10, 9], [0, 0, 10, 10], [21, 0, 30, 10], [70, 0, 80, 10]])
    scores = torch.tensor([0.2, 0.9, 0.5, 0.7])
    judged = judge_boxes(found, scores, TRUE)
    assert judged.scores.tolist() == pytest.approx([0.9, 0.7, 0.5, 0.2])
    assert judged.right.tolist() == [True, False, True, False]
    assert judged.wrong.tolist() == [False, True, False, True]
    assert judged.n_true == 2
    # right, wrong, right: 1 at recall 1/2, 2/3 at recall 1
    assert average_precision([judged]) == pytest.approx((1 + 2 / 3) / 2)
    judged = judge_boxes(found, scores, TRUE, torch.tensor([False, True]))
    assert judged.right.tolist() == [True, False, False, False]
    assert judged.wrong.tolist() == [False, True, False, True]
    assert judged.n_true == 1
    assert average_precision([judged]) == 1


def test_nothing_to_find_and_nothing_found():
    nothing = torch.zeros(0, 4)
    judged = judge_boxes(TRUE, torch.tensor([0.5, 0.6]), nothing)
    assert judged.wrong.tolist() == [True, True]
    assert np.isnan(average_precision([judged]))
    assert average_precision([judge_boxes(nothing, torch.zeros(0), TRUE)]) == 0


def _scene(seed):
    """Images with up to three true boxes far apart, found ones near them, and others."""
    rng = np.random.default_rng(seed)
    for _ in range(12):
        corners = np.array([[100.0 * n, 0] for n in range(rng.integers(1, 4))])
        true = np.hstack([corners, corners + 40])
        near = true + rng.normal(0, 5, true.shape)
        left, top = rng.uniform(500, 900, 2)
        found = np.vstack([near, [left, top, left + 9, top + 9]])
        found = found[rng.random(len(found)) < 0.8]
        yield tuple(map(torch.from_numpy, (true, found, rng.random(len(found)))))


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_near_that_of_coco(seed):
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def rows(boxes, image):
        return [
            {"image_id": image, "category_id": 1, "bbox": [x, y, right - x, bottom - y]}
            for x, y, right, bottom in boxes.tolist()
        ]

    truths, results, judged = [], [], []
    for image, (true, found, scores) in enumerate(_scene(seed), 1):
        judged.append(judge_boxes(found, scores, true))
        truths += [row | {"iscrowd": 0, "area": 1600} for row in rows(true, image)]
        pairs = zip(rows(found, image), scores.tolist(), strict=True)
        results += [row | {"score": score} for row, score in pairs]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": number} for number in range(1, 13)],
            "categories": [{"id": 1}],
            "annotations": [row | {"id": number} for number, row in enumerate(truths, 1)],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # COCO reads the same curve at 101 recalls
    assert average_precision(judged) == pytest.approx(evaluation.stats[1], abs=0.01)


def test_average_precision_of_a_falling_curve_is_that_of_scikit_learn():
    right = torch.tensor([True, True, False, True, False])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
    true = torch.tensor([[0.0, 0, 4, 4]])
    judged = [
        judge_boxes(true, score[None], true if hit else true[:0])
        for score, hit in zip(scores, right, strict=True)
    ]
    assert average_precision(judged) == pytest.approx(average_precision_score(right, scores))

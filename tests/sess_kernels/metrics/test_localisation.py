"""CorLoc and average precision: by hand, and beside COCO's evaluation and scikit-learn."""

import contextlib
import io

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.measure import label, regionprops
from sklearn.metrics import average_precision_score

from sess_kernels.metrics import CorLoc, Localisation
from sess_kernels.metrics.localisation import average_precision, is_localised, judge_boxes
from sess_kernels.pseudo import BoxConfig, pseudo_boxes

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


def _overlap(one, other):
    """IoU of two boxes by their pixels."""
    masks = np.zeros((2, 200, 300), bool)
    for mask, (left, top, right, bottom) in zip(masks, (one, other), strict=True):
        mask[int(top) : int(bottom), int(left) : int(right)] = True
    return masks.all(0).sum() / masks.any(0).sum()


def _drawn_boxes(rng, n):
    corners = rng.integers(0, 60, (n, 2))
    return torch.from_numpy(np.hstack([corners, corners + rng.integers(20, 90, (n, 2))])).float()


def test_corloc_is_the_share_of_pairs_and_the_mean_over_classes():
    rng, metric, hits = np.random.default_rng(0), CorLoc(4), {0: [], 1: [], 2: []}
    for number in range(60):
        found, true = _drawn_boxes(rng, number % 3), _drawn_boxes(rng, 1 + number % 2)
        difficult = torch.from_numpy(rng.random(len(true)) < 0.3)
        class_index = int(rng.choice(3, p=[0.6, 0.3, 0.1]))
        metric.update([found], [true], [difficult], class_indices=[class_index])
        plain = true[~difficult].tolist()
        if plain:
            best = [_overlap(found[0].tolist(), one) for one in plain] if len(found) else [0]
            hits[class_index].append(max(best) >= 0.5)
    of_classes = [np.mean(hits[one]) for one in range(3)]
    found = metric.compute()
    assert found["corloc"].item() == pytest.approx(np.mean([*hits[0], *hits[1], *hits[2]]))
    assert found["corloc_of_classes"].item() == pytest.approx(np.mean(of_classes))
    assert metric.class_figures(metric.sums)["corloc"].tolist() == pytest.approx(
        [*of_classes, np.nan], nan_ok=True
    )
    assert 0 < found["corloc"] < 1


def _largest(saliency, threshold):
    """The box around the largest component."""
    regions = regionprops(label(saliency > threshold * saliency.max(), connectivity=2))
    top, left, bottom, right = max(regions, key=lambda region: region.area).bbox
    return left, top, right, bottom


def test_gt_known_and_top_1_are_those_of_components():
    rng, metric, hits, rights = np.random.default_rng(0), Localisation(), [], []
    for number in range(30):
        noise = ndimage.gaussian_filter(rng.random((60, 80)), 5)
        saliency = ((noise - noise.min()) / np.ptp(noise)).astype(np.float32) ** 3
        left, top, right, bottom = _largest(saliency, np.float32(0.2))
        true = [left + number % 12, top + number % 7, right, bottom]
        hits.append(_overlap((left, top, right, bottom), true) >= 0.5)
        rights.append(bool(rng.random() < 0.6))
        boxes = torch.tensor([[0.0, 0, 2, 2], true])
        metric.update([torch.from_numpy(saliency)], [boxes], [rights[-1]])
    found = {name: one.item() for name, one in metric.compute().items()}
    assert found == pytest.approx(
        {
            "gt_known": np.mean(hits),
            "top1_localisation": np.mean(np.logical_and(hits, rights)),
            "top1": np.mean(rights),
        }
    )
    assert 0 < found["top1_localisation"] < found["gt_known"] < 1


def test_photographs_are_localised_as_their_boxes_say(photographs):
    config = BoxConfig(thresholds=(0.3,), components="largest", min_area=0.0)
    metric, corloc, hits = Localisation(config), CorLoc(1), []
    for saliency, _, boxes in photographs:
        metric.update([saliency], [boxes], [True])
        corloc.update([pseudo_boxes(saliency, config).boxes], [boxes])
        drawn = _largest(saliency.numpy(), np.float32(0.3))
        scale = 2.5  # both boxes fit the canvas of the pixels
        small = [[value / scale for value in box] for box in (drawn, *boxes.tolist())]
        hits.append(max(_overlap(small[0], one) for one in small[1:]) >= 0.5)
    assert metric.compute()["gt_known"].item() == np.mean(hits) == corloc.compute()["corloc"].item()
    assert metric.compute()["top1"] == 1


def test_what_nobody_knows_is_not_counted():
    metric, saliency = Localisation(), torch.zeros(20, 20)
    saliency[4:10, 4:14] = 1
    true = torch.tensor([[4.0, 4, 14, 10]])
    metric.update([saliency] * 3, [true, true, torch.zeros(0, 4)], [None, True, False])
    metric.update([torch.zeros(20, 20)], [true])
    assert metric.sums.tolist() == [[2, 3, 1, 1, 1]]
    assert metric.compute()["gt_known"].item() == pytest.approx(2 / 3)
    assert metric.compute()["top1"] == 1

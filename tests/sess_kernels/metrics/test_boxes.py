"""Boxes of maps beside connected components of another library, a threshold at a time."""

import builtins

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.measure import label, regionprops

from sess_kernels import SessError
from sess_kernels.metrics import MaxBoxAcc, best_ious, max_box_accuracy
from sess_kernels.metrics.boxes import resized


def _smooth(seed, size=(40, 50)):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(size), 3)
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


def _regions(marked):
    """Boxes of components, and of holes with the marked pixels around them."""
    found = [region.bbox for region in regionprops(label(marked, connectivity=2))]
    holes = label(np.pad(~marked, 1, constant_values=True), connectivity=1)
    for region in regionprops(holes):
        top, left, bottom, right = (side - 1 for side in region.bbox)
        if top >= 0 and left >= 0 and bottom <= marked.shape[0] and right <= marked.shape[1]:
            found.append((top - 1, left - 1, bottom + 1, right + 1))
    return [(left, top, right, bottom) for top, left, bottom, right in found]


def _iou(found, true, size):
    """As the evaluation has it: ends of found boxes stay inside, and count as pixels of theirs."""
    left, top, right, bottom = found
    right, bottom = min(right, size[1] - 1), min(bottom, size[0] - 1)
    width = min(right, true[2]) - max(left, true[0]) + 1
    height = min(bottom, true[3]) - max(top, true[1]) + 1
    inter = max(width, 0) * max(height, 0)
    areas = [(x1 - x0 + 1) * (y1 - y0 + 1) for x0, y0, x1, y1 in ((left, top, right, bottom), true)]
    return inter / (sum(areas) - inter)


@pytest.mark.parametrize("seed", range(4))
def test_best_boxes_are_those_of_components_and_holes(seed):
    saliency, true = _smooth(seed), [(5, 8, 20, 30), (30, 2, 44, 18)]
    found = best_ious(torch.from_numpy(saliency), torch.tensor(true).float())
    steps = (saliency.astype(float) * 255).astype(np.uint8)
    for number, threshold in list(enumerate(np.arange(0, 1, 0.001)))[::37]:
        boxes = _regions(steps > int(threshold * np.max(steps)))
        expected = max(_iou(box, one, saliency.shape) for box in boxes for one in true)
        assert found[number].item() == pytest.approx(expected, abs=1e-6)


def test_a_ring_has_a_box_of_its_hole_too():
    saliency = torch.zeros(30, 30)
    saliency[2:28, 2:28] = 1
    saliency[10:20, 10:20] = 0
    hole = torch.tensor([[9.0, 9.0, 21.0, 21.0]])
    assert best_ious(saliency, hole).max() == 1


def test_a_map_of_zeros_marks_nothing():
    found = best_ious(torch.zeros(30, 30), torch.tensor([[5.0, 5.0, 15.0, 15.0]]))
    assert found.max() == 0


def test_true_boxes_are_rounded_down_to_pixels():
    saliency = torch.zeros(30, 30)
    saliency[5:15, 5:15] = 1
    assert best_ious(saliency, torch.tensor([[5.9, 5.2, 15.7, 15.1]])).max() == 1


def test_one_threshold_serves_all_images():
    ious = torch.tensor([[0.9, 0.1, 0.6], [0.1, 0.9, 0.6]])
    # at 0.3 and 0.5 the last one finds both, at 0.7 only the first two find one
    assert max_box_accuracy(ious) == pytest.approx((1 + 1 + 0.5) / 3)


def test_without_opencv_it_says_what_to_install(monkeypatch):
    find = builtins.__import__

    def without(name, *rest):
        if name == "cv2":
            raise ImportError(name)
        return find(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SessError, match="OpenCV: pip install"):
        best_ious(torch.ones(4, 4), torch.tensor([[0.0, 0, 2, 2]]))


def _plain(saliency, true, largest):
    """Of one map the best IoU at each threshold, a contour at a time."""
    steps = (saliency.astype(np.float64) * 255).astype(np.uint8)
    found = []
    for threshold in np.arange(0, 1, 0.001):
        _, marked = cv2.threshold(steps, int(threshold * steps.max()), 255, cv2.THRESH_BINARY)
        contours = cv2.findContours(marked, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
        if largest and contours:
            contours = [max(contours, key=cv2.contourArea)]
        rects = [cv2.boundingRect(one) for one in contours] or [(0, 0, 0, 0)]
        boxes = [(x, y, x + width, y + height) for x, y, width, height in rects]
        found.append(max(_iou(box, one, saliency.shape) for box in boxes for one in true))
    return np.array(found)


@pytest.mark.parametrize("contours", ["all", "largest"])
def test_shares_are_those_of_a_plain_loop(contours):
    true = [[(5, 8, 20, 30), (30, 2, 44, 18)], [(10, 10, 45, 38)], [(0, 0, 20, 20)]]
    maps = [_smooth(seed, (40, 50)) for seed in range(2)] + [np.zeros((40, 50), np.float32)]
    metric = MaxBoxAcc(contours)
    boxes = [torch.tensor(one).float() for one in true]
    metric.update([torch.from_numpy(one) for one in maps], boxes)
    ious = np.stack([_plain(*pair, contours == "largest") for pair in zip(maps, true, strict=True)])
    parts = [(ious >= least).mean(0).max() for least in (0.3, 0.5, 0.7)]
    if contours == "largest":
        expected = {"max_box_acc": parts[1]}
    else:
        names = [f"max_box_acc_{one}" for one in ("v2", 30, 50, 70)]
        expected = dict(zip(names, [np.mean(parts), *parts], strict=True))
        assert expected["max_box_acc_v2"] == pytest.approx(
            max_box_accuracy(torch.stack(list(map(best_ious, map(torch.from_numpy, maps), boxes))))
        )
    assert {name: one.item() for name, one in metric.compute().items()} == pytest.approx(expected)
    assert max(expected.values()) > 0


def test_photographs_are_as_a_plain_loop_finds_them(photographs):
    metric, ious = MaxBoxAcc(size=64), []
    for saliency, _, boxes in photographs:
        metric.update([saliency], [boxes])
        small, scaled = resized(saliency, boxes, 64)
        ious.append(_plain(small.numpy(), scaled.floor().int().tolist(), False))
    parts = [(np.stack(ious) >= least).mean(0).max() for least in (0.3, 0.5, 0.7)]
    assert metric.compute()["max_box_acc_v2"].item() == pytest.approx(np.mean(parts))
    assert np.mean(parts) > 0


def test_a_square_holds_boxes_rounded_down_and_maps_from_0_to_1():
    saliency = torch.full((20, 10), 0.25)
    saliency[:10] = 0.75
    found, boxes = resized(saliency, torch.tensor([[1.0, 2.0, 4.0, 3.0]]), 40)
    assert boxes.tolist() == [[4, 4, 16, 6]]
    assert found.shape == (40, 40)
    assert found[:10].eq(1).all()
    assert found[30:].eq(0).all()
    assert resized(torch.ones(4, 4), torch.zeros(0, 4), 8)[0].eq(0).all()


def test_classes_are_told_at_thresholds_that_serve_all():
    metric, n = MaxBoxAcc(), 3000
    sums = torch.zeros(2, n + 1, dtype=torch.float64)
    sums[:, n] = torch.tensor([2, 3])
    sums[0, [10, 1010, 2010]] = 2  # alone, the first class would have these
    sums[1, [500, 1500, 2500]] = 3
    assert metric.figures(sums)["max_box_acc_50"] == 3 / 5
    of_classes = metric.class_figures(sums)
    assert of_classes["max_box_acc_50"].tolist() == of_classes["max_box_acc_v2"].tolist() == [0, 1]


def test_without_true_boxes_nothing_is_judged():
    metric = MaxBoxAcc()
    metric.update([torch.rand(8, 8)], [torch.zeros(0, 4)])
    assert metric.compute()["max_box_acc_v2"].isnan()


def test_other_contours_are_refused():
    with pytest.raises(SessError, match=r"unknown contours 'biggest'; .*known: all, largest"):
        MaxBoxAcc("biggest")

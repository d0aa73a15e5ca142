"""The pointing game beside TorchRay's, and the mass inside boxes beside a sum over pixels."""

import math

import numpy as np
import pytest
import torch

from sess_kernels.metrics import (
    PointingGame,
    is_difficult,
    mass_inside,
    pointing_hit,
    pointing_hits,
)
from sess_kernels.metrics.pointing import pixels_inside


def _case(seed):
    draw = np.random.default_rng(seed)
    height, width = draw.integers(20, 60, 2)
    corners = draw.integers(0, [width // 2, height // 2], (2, 2))
    boxes = np.hstack([corners, corners + draw.integers(1, 10, (2, 2))])
    saliency = torch.from_numpy(draw.random((height, width)).astype(np.float32))
    return saliency, torch.from_numpy(boxes).float()


def _mask(boxes, size):
    """Pixel by pixel."""
    mask = torch.zeros(size, dtype=torch.bool)
    for left, top, right, bottom in boxes.int().tolist():
        mask[top:bottom, left:right] = True
    return mask


def test_hits_are_those_of_torchray():
    game = pytest.importorskip("torchray.benchmark.pointing_game").PointingGame(1, tolerance=15)
    for seed in range(200):
        saliency, boxes = _case(seed)
        row, column = divmod(int(saliency.argmax()), saliency.shape[1])
        expected = game.evaluate(_mask(boxes, saliency.shape), torch.tensor([column, row])) == 1
        assert pointing_hit(saliency, boxes, tolerance=15) == expected


def test_without_tolerance_the_point_lies_in_the_box_or_does_not():
    found = {(pointing_hit(*_case(seed)), pointing_hit(*_case(seed), 15)) for seed in range(200)}
    assert found == {(False, False), (False, True), (True, True)}
    for seed in range(50):
        saliency, boxes = _case(seed)
        inside = _mask(boxes, saliency.shape).flatten()[saliency.argmax()]
        assert pointing_hit(saliency, boxes) == inside


def test_mass_inside_is_the_sum_over_the_pixels_of_all_boxes():
    for seed in range(50):
        saliency, boxes = _case(seed)
        mask = _mask(boxes, saliency.shape)
        expected = (saliency * mask).sum() / saliency.sum()
        assert mass_inside(saliency, boxes) == pytest.approx(float(expected), abs=1e-6)
    assert math.isnan(mass_inside(torch.zeros(4, 4), torch.tensor([[0.0, 0, 2, 2]])))


def test_a_pixel_belongs_to_a_box_if_its_centre_does():
    boxes = torch.tensor([[0.6, 0.0, 2.5, 1.0], [10.0, 10.0, 12.0, 12.0]])
    assert pixels_inside(boxes, (2, 4)).tolist() == [[False, True, False, False], [False] * 4]


def _torchray(n_classes, tolerance=15):
    game = pytest.importorskip("torchray.benchmark.pointing_game")
    return game.PointingGame(n_classes, tolerance=tolerance)


def _played(game, saliency, mask, class_index):
    row, column = divmod(int(saliency.argmax()), saliency.shape[1])
    game.aggregate(game.evaluate(mask, torch.tensor([column, row])), class_index)


def test_the_game_is_that_of_torchray_with_boxes_and_with_masks():
    metrics, game, hard = (PointingGame(3, 15), PointingGame(3, 15)), _torchray(3), _torchray(3)
    for seed in range(90):
        saliency, boxes = _case(seed)
        mask, class_index, difficult = _mask(boxes, saliency.shape), seed % 3, seed % 4 == 0
        for metric, region in zip(metrics, (boxes, mask), strict=True):
            metric.update([saliency], [region], [difficult], class_indices=[class_index])
        _played(game, saliency, mask, class_index)
        if difficult:
            _played(hard, saliency, mask, class_index)
    for metric in metrics:
        found = metric.compute()
        assert found["pointing"].item() == pytest.approx(game.accuracy.item())
        assert found["pointing_difficult"].item() == pytest.approx(hard.accuracy.item())
        of_classes = metric.class_figures(metric.sums)
        assert of_classes["pointing"].tolist() == pytest.approx(game.class_accuracies.tolist())


def test_photographs_point_as_torchray_says(photographs):
    game, metric = _torchray(1000), PointingGame(1000, 15)
    for saliency, class_index, boxes in photographs:
        _played(game, saliency, _mask(boxes, saliency.shape), class_index)
        metric.update([saliency], [boxes], class_indices=[class_index])
    assert metric.sums[:, 0].equal(game.hits)
    assert (metric.sums[:, 1] - metric.sums[:, 0]).equal(game.misses)
    assert metric.sums.sum(0).tolist() == [2, 2, 0, 0]


@pytest.mark.parametrize("tolerance", [0, 1, 2.5, 15])
def test_hits_of_a_batch_are_those_of_every_pixel(tolerance, device):
    rng = np.random.default_rng(1)
    saliency = torch.from_numpy(rng.random((60, 25, 40), np.float32))
    regions = torch.from_numpy(rng.random((60, 25, 40)) < 0.002)
    found = pointing_hits(saliency.to(device), regions.to(device), tolerance)
    expected = []
    for one, region in zip(saliency.numpy(), regions.numpy(), strict=True):
        point = np.unravel_index(one.argmax(), one.shape)
        far = [np.hypot(*(np.array(pixel) - point)) for pixel in np.argwhere(region)]
        expected.append(any(one == 0 or one < tolerance for one in far))
    assert found.tolist() == expected
    assert found.device.type == device
    assert tolerance < 2 or len(set(expected)) == 2


def test_of_largest_values_the_first_one_is_the_point():
    saliency = torch.zeros(1, 3, 4)
    saliency[0, 1, 2:] = saliency[0, 2, 0] = 1
    regions = torch.zeros(3, 3, 4, dtype=torch.bool)
    regions[0, 1, 2] = regions[1, 1, 3] = regions[2, 2, 0] = True
    assert pointing_hits(saliency.expand(3, -1, -1), regions).tolist() == [True, False, False]


def test_a_class_that_is_not_judged_is_left_out_of_the_mean():
    metric = PointingGame(4)
    saliency, box = torch.eye(6), torch.tensor([[0.0, 0, 3, 3]])
    regions = [box, box + 3, torch.zeros(6, 6).bool(), torch.zeros(0, 4), None]
    metric.update(
        [saliency] * 5, regions, [True, False, False, True, True], class_indices=[0, 0, 1, 2, 3]
    )
    assert metric.sums.tolist() == [[1, 2, 1, 1], [0, 1, 0, 0], [0] * 4, [0] * 4]
    assert metric.compute()["pointing"] == 0.25
    assert metric.compute()["pointing_difficult"] == 1
    of_classes = metric.class_figures(metric.sums)["pointing"]
    assert of_classes.isnan().tolist() == [False, False, True, True]


def test_difficult_are_small_objects_beside_other_classes():
    assert is_difficult(24.9, 100, 1)
    assert is_difficult(0, 100, 7)
    assert not is_difficult(25, 100, 1)
    assert not is_difficult(10, 100, 0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((torch.zeros(2, 3, 4), torch.zeros(2, 4, 3).bool()), r"\(2, 3, 4\) and \(2, 4, 3\)"),
        ((torch.zeros(3, 4), torch.zeros(3, 4).bool()), r"\(N, H, W\) but got \(3, 4\)"),
        ((torch.zeros(1, 3, 4), torch.zeros(1, 3, 4).bool(), -1), "at least 0 pixels but got -1"),
    ],
)
def test_what_does_not_go_together_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        pointing_hits(*given)
    with pytest.raises(ValueError, match="at least 0 pixels but got nan"):
        PointingGame(2, tolerance=math.nan)

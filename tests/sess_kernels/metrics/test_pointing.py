"""The pointing game beside TorchRay's, and the mass inside boxes beside a sum over pixels."""

import math

import numpy as np
import pytest
import torch

from sess_kernels.metrics import mass_inside, pointing_hit
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

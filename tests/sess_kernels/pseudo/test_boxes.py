"""Pseudo-boxes beside scikit-image's components and threshold."""

import builtins

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops
from torchvision.ops import box_iou

from sess_kernels import ConfigError, SessError
from sess_kernels.pseudo import BoxConfig, pseudo_boxes
from sess_kernels.pseudo.boxes import otsu


def _smooth(seed, size=(40, 50)):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(size), 2)
    return torch.from_numpy(((noise - noise.min()) / np.ptp(noise)).astype(np.float32))


def _regions(saliency, level, min_area=0.0):
    """Boxes and scores by scikit-image, best first."""
    values = saliency.numpy()
    found = []
    for one in regionprops(label(values > level, connectivity=2), values):
        if one.area >= min_area * values.size:
            top, left, bottom, right = one.bbox
            score = one.intensity_mean * (one.area / values.size) ** 0.5
            found.append(((left, top, right, bottom), score, one.area))
    return sorted(found, key=lambda one: -one[1])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("mode", ["relative", "absolute"])
@pytest.mark.parametrize("min_area", [0.0, 0.02])
def test_boxes_are_those_of_components(seed, mode, min_area, device):
    saliency = _smooth(seed) * 0.8
    level = 0.6 * (saliency.max().item() if mode == "relative" else 1)
    config = BoxConfig(thresholds=(0.6,), threshold_mode=mode, min_area=min_area, nms_iou=1)
    found = pseudo_boxes(saliency.to(device), config)
    expected = _regions(saliency, level, min_area)
    assert found.boxes.tolist() == [list(box) for box, _, _ in expected]
    assert found.scores.tolist() == pytest.approx([score for _, score, _ in expected], rel=1e-5)
    assert found.boxes.device.type == found.scores.device.type == device
    assert found.boxes.dtype == found.scores.dtype == torch.float32


@pytest.mark.parametrize("seed", range(4))
def test_otsu_is_that_of_another_library(seed):
    saliency = _smooth(seed) ** 3
    steps = (saliency * 255).round().byte()
    assert round(otsu(saliency) * 255) == threshold_otsu(steps.numpy())
    found = pseudo_boxes(saliency, BoxConfig(threshold_mode="otsu", min_area=0, nms_iou=1))
    marked = steps.numpy() > threshold_otsu(steps.numpy())
    boxes = [one.bbox for one in regionprops(label(marked, connectivity=2))]
    expected = [[float(side) for side in (box[1], box[0], box[3], box[2])] for box in boxes]
    assert sorted(found.boxes.tolist()) == sorted(expected)


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_a_flat_map_has_one_box_or_none(value):
    saliency = torch.full((6, 9), value)
    assert len(pseudo_boxes(saliency, BoxConfig(threshold_mode="otsu")).boxes) == 0
    found = pseudo_boxes(saliency)
    assert found.boxes.tolist() == ([[0, 0, 9, 6]] if value else [])
    assert found.scores.tolist() == pytest.approx([value] if value else [])


def test_the_largest_component_alone():
    saliency = torch.zeros(20, 20)
    saliency[0:2, 0:3] = 1  # smaller, though brighter
    saliency[8:18, 8:18] = 0.6
    found = pseudo_boxes(saliency, BoxConfig(components="largest"))
    assert found.boxes.tolist() == [[8, 8, 18, 18]]
    assert len(pseudo_boxes(saliency, BoxConfig(components="all")).boxes) == 2


def test_corners_that_touch_are_one_component():
    assert pseudo_boxes(torch.eye(5)).boxes.tolist() == [[0, 0, 5, 5]]


def test_boxes_of_several_thresholds_are_thinned_out_by_the_better_one():
    saliency = _smooth(7)
    levels = (0.2, 0.4, 0.6)
    kept_all = pseudo_boxes(saliency, BoxConfig(thresholds=levels, nms_iou=1))
    found = pseudo_boxes(saliency, BoxConfig(thresholds=levels, nms_iou=0.5))
    assert 0 < len(found.boxes) < len(kept_all.boxes)
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    overlaps = box_iou(found.boxes, found.boxes).fill_diagonal_(0)
    assert overlaps.max() <= 0.5
    for box, score in zip(kept_all.boxes, kept_all.scores, strict=True):
        nearest = box_iou(box[None], found.boxes)[0]
        assert ((nearest > 0.5) & (found.scores >= score)).any()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"thresholds": ()}, r"thresholds must be numbers in \[0, 1\), at least one"),
        ({"thresholds": (0.5, 1.0)}, "thresholds must be"),
        ({"threshold_mode": "otso"}, "did you mean 'otsu'"),
        ({"components": "both"}, "known: all, largest"),
        ({"min_area": -0.1}, "min_area must be"),
        ({"nms_iou": float("nan")}, "nms_iou must be"),
    ],
)
def test_faults_of_a_configuration_are_told(given, said):
    with pytest.raises(ConfigError, match=said):
        BoxConfig(**given)


def test_what_is_no_map_is_refused():
    with pytest.raises(ValueError, match=r"Expected a map \(H, W\) but got \(1, 4, 4\)"):
        pseudo_boxes(torch.ones(1, 4, 4))


def test_without_opencv_it_says_what_to_install(monkeypatch):
    find = builtins.__import__

    def without(name, *rest):
        if name == "cv2":
            raise ImportError(name)
        return find(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SessError, match="OpenCV: pip install"):
        pseudo_boxes(torch.ones(4, 4))

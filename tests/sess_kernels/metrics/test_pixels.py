"""PxAP beside scikit-learn's average precision."""

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from sess_kernels.metrics import PxAP, pixel_histograms, pixel_precision


def _case(seed, size=(30, 40)):
    rng = np.random.default_rng(seed)
    truth = (rng.random(size) < 0.3).astype(np.int64)
    values = np.clip(truth * 0.3 + rng.random(size) * 0.8, 0, 1).astype(np.float32)
    truth[rng.random(size) < 0.1] = 255
    return torch.from_numpy(values), torch.from_numpy(truth)


def _expected(cases):
    """Average precision of all pixels, each value rounded down to a threshold."""
    edges = np.append(np.arange(0, 1, 0.001), 1.0)
    values = np.concatenate([one.double().numpy().ravel() for one, _ in cases])
    truth = np.concatenate([one.numpy().ravel() for _, one in cases])
    values, truth = values[truth != 255], truth[truth != 255]
    return average_precision_score(truth, np.searchsorted(edges, values, side="right"))


def test_is_average_precision_over_the_pixels_of_all_maps(device):
    cases = [_case(seed) for seed in range(3)]
    metric = PxAP().to(device)
    for saliency, truth in cases:
        metric.update([saliency.to(device)], [truth.to(device)])
    assert metric.compute()["pxap"].item() == pytest.approx(_expected(cases))


def test_photographs_are_as_scikit_learn_has_them(photographs):
    metric, cases = PxAP(), []
    for saliency, _, boxes in photographs:
        truth = torch.zeros(saliency.shape, dtype=torch.long)
        for left, top, right, bottom in boxes.int().tolist():
            truth[top:bottom, left:right] = 1
        metric.update([saliency], [truth])
        cases.append((saliency, truth))
    assert metric.compute()["pxap"].item() == pytest.approx(_expected(cases))


def test_histograms_are_those_of_numpy():
    saliency, truth = _case(5)
    saliency.flatten()[:1001] = torch.from_numpy(np.append(np.arange(0, 1, 0.001), 1.0))
    found = pixel_histograms(saliency, truth)
    edges = np.concatenate([np.arange(0, 1, 0.001), [1.0, 2.0]])
    for counts, kind in zip(found, (1, 0), strict=True):
        expected, _ = np.histogram(saliency[truth == kind].double().numpy(), bins=edges)
        assert counts.tolist() == expected.tolist()


def test_a_square_has_the_nearest_pixels_of_the_mask():
    saliency, truth = _case(0, (33, 47))
    metric = PxAP(size=16)
    statistics = metric.observe(saliency, truth)
    mask = cv2.resize(truth.numpy().astype(np.uint8), (16, 16), interpolation=cv2.INTER_NEAREST)
    assert statistics.view(2, -1).sum(1).tolist() == [(mask == 1).sum(), (mask == 0).sum()]


def test_of_perfect_maps_all_is_found_and_of_even_ones_the_share():
    _, truth = _case(0)
    perfect, even = PxAP(), PxAP()
    perfect.update([(truth == 1).float()], [truth])
    even.update([torch.full(truth.shape, 0.5)], [truth])
    share = (truth == 1).sum() / (truth != 255).sum()
    assert perfect.compute()["pxap"] == 1
    assert even.compute()["pxap"].item() == pytest.approx(share.item())


def test_masks_may_be_bool_and_without_a_true_pixel_there_is_no_figure():
    saliency, truth = _case(0)
    truth = truth == 1
    assert pixel_histograms(saliency, truth).equal(pixel_histograms(saliency, truth.long()))
    assert pixel_precision(pixel_histograms(saliency, torch.zeros_like(truth))).isnan()


@pytest.mark.parametrize(
    ("saliency", "truth", "said"),
    [
        ([[0.1, 0.2]], [[1]], r"one size but got \(1, 2\) and \(1, 1\)"),
        ([[0.1, 1.2]], [[1, 0]], r"values in \[0, 1\]"),
        ([[0.1, float("nan")]], [[1, 0]], r"values in \[0, 1\]"),
        ([[0.1, 0.2]], [[1, 2]], "masks of 0, 1 and 255"),
    ],
)
def test_what_is_no_map_or_mask_is_refused(saliency, truth, said):
    with pytest.raises(ValueError, match=said):
        PxAP().observe(torch.tensor(saliency), torch.tensor(truth))

"""Confusion and mean IoU beside scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, jaccard_score

from sess_kernels.metrics.segmentation import class_ious, confusion, mean_iou


def _masks(seed, n_classes=5):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, (20, 30))
    predicted = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, n_classes, (20, 30)))
    truth[rng.random(truth.shape) < 0.1] = 255
    return predicted, truth


@pytest.mark.parametrize("seed", range(3))
def test_equals_scikit_learn(seed, device):
    predicted, truth = _masks(seed)
    given = [torch.from_numpy(one).to(torch.uint8).to(device) for one in (predicted, truth)]
    counts = confusion(*given, 5)
    judged = truth != 255
    pair = truth[judged], predicted[judged]
    assert counts.dtype == torch.int64
    assert (counts.cpu().numpy() == confusion_matrix(*pair, labels=range(5))).all()
    expected = jaccard_score(*pair, labels=range(5), average=None)
    assert class_ious(counts).tolist() == pytest.approx(expected)
    assert mean_iou(counts).item() == pytest.approx(expected.mean())


def test_counts_of_images_add_up_and_come_in_batches():
    pairs = [_masks(seed) for seed in range(3)]
    counts = [confusion(*map(torch.from_numpy, pair), 5) for pair in pairs]
    whole = [torch.from_numpy(np.stack(side)) for side in zip(*pairs, strict=True)]
    assert sum(counts).equal(confusion(*whole, 5))
    assert mean_iou(torch.stack(counts)).tolist() == [mean_iou(one).item() for one in counts]


def test_a_class_that_is_nowhere_is_left_out():
    counts = torch.zeros(3, 3, dtype=torch.long)
    counts[0, 0], counts[0, 1] = 6, 2
    assert class_ious(counts).isnan().tolist() == [False, False, True]
    assert mean_iou(counts).item() == pytest.approx((6 / 8 + 0) / 2)


def test_an_image_that_nobody_judges_counts_nothing():
    nothing = confusion(torch.ones(2, 2), torch.full((2, 2), 255), 3)
    assert nothing.sum() == 0
    assert mean_iou(nothing).isnan()


@pytest.mark.parametrize(
    ("predicted", "truth", "said"),
    [
        ([[0, 1]], [[0], [1]], r"one size but got \(1, 2\) and \(2, 1\)"),
        ([[0, 3]], [[0, 1]], "predicted classes from 0 to 2 but got 0 to 3"),
        ([[0, 1]], [[0, 7]], "true classes from 0 to 2 but got 0 to 7"),
        ([[-1, 1]], [[0, 0]], "predicted classes from 0 to 2 but got -1 to 1"),
    ],
)
def test_what_does_not_go_together_is_refused(predicted, truth, said):
    with pytest.raises(ValueError, match=said):
        confusion(torch.tensor(predicted), torch.tensor(truth), 3)

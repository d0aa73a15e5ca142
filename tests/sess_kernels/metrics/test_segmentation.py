"""Confusion and mean IoU beside scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, jaccard_score
from torchmetrics import JaccardIndex

from sess_kernels.metrics import PseudoMaskIoU, mask_overlaps
from sess_kernels.metrics.segmentation import class_ious, confusion, mean_iou
from sess_kernels.pseudo import MaskConfig, pseudo_mask


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


def _scenes(n_classes=5, n=9):
    """Maps, their classes and true masks that they nearly meet."""
    for seed in range(n):
        rng = np.random.default_rng(seed)
        classes = rng.permutation(n_classes - 1)[: seed % 3].tolist()
        truth = rng.integers(0, 3, (20, 30))
        truth = np.array([0, *[one + 1 for one in classes], 0, 0])[truth]
        maps = [(truth == one + 1) * 0.5 + rng.random(truth.shape) * 0.6 for one in classes]
        truth[rng.random(truth.shape) < 0.1] = 255
        maps = torch.from_numpy(np.array(maps, np.float32).reshape(-1, *truth.shape))
        yield (maps * 51).round() / 51, classes, torch.from_numpy(truth)  # some are thresholds


@pytest.mark.parametrize("normalize", [True, False])
def test_pseudo_masks_are_judged_as_torchmetrics_does_at_every_threshold(normalize, device):
    metric = PseudoMaskIoU(5, (0.8, 0.05, 0.2, 0.4, 0.6), normalize=normalize).to(device)
    for maps, classes, truth in _scenes():
        metric.update([maps.to(device)], [classes], [truth.to(device)])
    means, of_classes = {}, {}
    for threshold in metric.thresholds:
        index = JaccardIndex("multiclass", num_classes=5, average="none", ignore_index=255)
        config = MaskConfig(background=threshold, normalize=normalize)
        for maps, classes, truth in _scenes():
            index.update(pseudo_mask(maps, classes, config).long()[None], truth[None])
        of_classes[threshold] = index.compute().tolist()
        means[threshold] = np.mean(of_classes[threshold])
    best = max(means, key=means.get)
    found = {name: one.item() for name, one in metric.compute().items()}
    assert found == pytest.approx({"miou": means[best], "background": best})
    ious = metric.class_figures(metric.sums)["iou"].tolist()
    assert ious == pytest.approx(of_classes[best], abs=1e-6)
    assert PseudoMaskIoU(5).thresholds == pytest.approx(np.arange(0.05, 0.99, 0.05))
    assert 0 < found["miou"] < 1


def test_overlaps_are_those_of_confusion_at_every_threshold():
    thresholds = (0.0, 0.2, 0.4, 0.6, 0.9)
    for maps, classes, truth in _scenes():
        both, either = mask_overlaps(maps, classes, truth, thresholds, 5).unbind(1)
        for place, threshold in enumerate(thresholds):
            mask = pseudo_mask(maps, classes, MaskConfig(background=threshold, normalize=False))
            counts = confusion(mask, truth, 5)
            assert both[:, place].equal(counts.diagonal().double())
            assert either[:, place].equal(
                (counts.sum(0) + counts.sum(1) - counts.diagonal()).double()
            )


def test_resamples_have_backgrounds_of_their_own():
    metric = PseudoMaskIoU(2, thresholds=(0.3, 0.6))
    sums = torch.tensor([[[4.0, 2, 8, 8], [4, 2, 8, 8]], [[2, 4, 8, 8], [2, 4, 8, 8]]]).double()
    assert metric.figures(sums)["miou"].tolist() == [0.5, 0.5]
    assert metric.figures(sums)["background"].tolist() == pytest.approx([0.3, 0.6])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (([[0.5, 1]], [0], [[0, 0]]), r"got \(1, 2\) and \(1, 2\)"),
        (([[[0.5, 1]]], [0, 1], [[0, 0]]), "for 2 classes and a mask"),
        (([[[0.5, 1]]], [0], [[0, 3]]), "true classes from 0 to 2 but got 0 to 3"),
        (([[[0.5, 1]]], [2], [[0, 0]]), r"from 0 to 1 besides the background but got \[2\]"),
        (([[[0.5, 1]]], [-1], [[0, 0]]), r"from 0 to 1 besides the background but got \[-1\]"),
    ],
)
def test_images_that_do_not_go_with_their_truth_are_refused(given, said):
    maps, classes, truth = given
    with pytest.raises(ValueError, match=said):
        PseudoMaskIoU(3).observe(torch.tensor(maps), classes, torch.tensor(truth))


@pytest.mark.parametrize("thresholds", [(), (0.2, 1.5)])
def test_thresholds_out_of_range_are_refused(thresholds):
    with pytest.raises(ValueError, match="thresholds in"):
        PseudoMaskIoU(3, thresholds)

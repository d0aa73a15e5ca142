"""Insertion and deletion of many maps: batches, settings, faults, and the metric."""

import copy
import math

import numpy as np
import pytest
import torch

from sess_kernels import SessError
from sess_kernels.backbones import BlackBox, Preprocessing
from sess_kernels.backbones.base import FixedForward
from sess_kernels.backbones.runtimes import with_runtime
from sess_kernels.metrics import (
    CurveSettings,
    InsertionDeletion,
    InsertionDeletionMetric,
    MapQuery,
    insertion_deletion,
)

SIDE = 32
SMALL = Preprocessing(SIDE, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def _random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def _photo(*size, seed=0):
    return (_random(*size, 3, seed=seed) * 256).byte().numpy()


RANDOM = _random(SIDE, SIDE)


class _Counted:
    def __init__(self):
        self.shapes = []

    def __call__(self, images):
        self.shapes.append(images.shape)
        red = images[:, 0].mean((1, 2))
        return np.stack([red, -red], axis=1)


def test_batches_of_one_size_and_ends_once_for_an_image():
    classify = _Counted()
    backbone = BlackBox(classify, preprocessing=SMALL)
    classify.shapes.clear()
    images = _photo(SIDE, SIDE), _photo(50, 60, seed=1)
    queries = [MapQuery(images[n % 2], _random(SIDE, SIDE, seed=n), n % 2) for n in range(5)]
    insertion_deletion(backbone, queries, CurveSettings(share=0.25), batch_size=6)
    n_frames = 2 * 3 + 5 * 2 * 3  # ends of both images, frames between those of each map
    assert classify.shapes == [(6, 3, SIDE, SIDE)] * math.ceil(n_frames / 6)


def test_the_batch_is_that_of_the_classifier(tiny):
    classify = _Counted()
    fixed = BlackBox(classify, preprocessing=SMALL, batch_size=5)
    query = MapQuery(_photo(SIDE, SIDE), RANDOM, 1)
    insertion_deletion(fixed, [query])
    assert {shape[0] for shape in classify.shapes} == {5}
    fast, calls = copy.deepcopy(tiny), []
    call = lambda patches: calls.append(len(patches)) or tiny(patches)  # noqa: E731
    fast.fixed_forward = FixedForward(torch.Size((3, 3, SIDE, SIDE)), torch.float32, call)
    [found] = insertion_deletion(fast, [query])
    assert calls == [3] * math.ceil((3 + 2 * 27) / 3)
    assert found == pytest.approx(insertion_deletion(tiny, [query])[0], abs=1e-6)


def test_a_backbone_in_bfloat16_is_near(tiny):
    queries = [MapQuery(_photo(SIDE, SIDE), RANDOM, 1)]
    half = with_runtime(tiny, "torch", 4, torch.bfloat16)
    [found] = insertion_deletion(half, queries)
    [exact] = insertion_deletion(tiny, queries)
    assert found == pytest.approx(exact, abs=1e-2)
    assert found != exact


def test_groups_of_classes_are_followed_by_their_sum(tiny):
    image, saliency = _photo(SIDE, SIDE), RANDOM
    alone = insertion_deletion(tiny, [MapQuery(image, saliency, index) for index in (0, 3)])
    grouped = copy.deepcopy(tiny).group_classes({"both": [0, 3], "none": []})
    [both] = insertion_deletion(grouped, [MapQuery(image, saliency, 0)])
    assert both.insertion == pytest.approx(sum(one.insertion for one in alone), abs=1e-6)
    assert both.deletion == pytest.approx(sum(one.deletion for one in alone), abs=1e-6)
    with pytest.raises(ValueError, match=r"1 \(none\) has none"):
        insertion_deletion(grouped, [MapQuery(image, saliency, 1)])


def test_nothing_to_judge(tiny):
    assert insertion_deletion(tiny, []) == []
    metric = InsertionDeletionMetric(tiny)
    metric.update([])
    assert all(value.isnan() for value in metric.compute().values())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"share": 0}, "share must be above 0 and at most 1 but got 0"),
        ({"share": math.nan}, "share"),
        ({"blur": (50, 5.0)}, "odd number of pixels but got 50"),
        ({"blur": (51, 0.0)}, "deviation of the blur must be above 0"),
        ({"start": "blurred"}, "unknown start 'blurred'; did you mean 'blur'?"),
        ({"baseline": "gray", "share": 2}, "share .*; unknown baseline 'gray'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given, said):
    with pytest.raises(SessError, match=said):
        CurveSettings(**given)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"saliency": torch.zeros(1, 4, 4)}, r"map \(H, W\) for query 1 but got \(1, 4, 4\)"),
        ({"saliency": torch.zeros(0, 4)}, "for query 1"),
        ({"saliency": torch.full((4, 4), torch.nan)}, "finite values for query 1"),
        ({"class_index": 4}, "classes of 0 to 3 but got 4"),
        ({"image": torch.zeros(4, 4)}, r"\(3, H, W\)"),
    ],
)
def test_maps_that_cannot_be_judged_are_refused(tiny, changes, said):
    query = MapQuery(_photo(SIDE, SIDE), RANDOM, 1)
    with pytest.raises(ValueError, match=said):
        insertion_deletion(tiny, [query, query._replace(**changes)])


def test_what_the_classifier_cannot_do_is_told(tiny):
    query = MapQuery(_photo(SIDE, SIDE), RANDOM, 1)
    with pytest.raises(SessError, match="input of tiny, 32 pixels; take one of at most 63"):
        insertion_deletion(tiny, [query], CurveSettings(blur=(65, 50.0)))
    broken = BlackBox(lambda images: images[:, :2, 0, 0] * np.nan, preprocessing=SMALL)
    with pytest.raises(SessError, match="scores of black box are not finite"):
        insertion_deletion(broken, [query])


def test_the_metric_is_the_mean_over_maps_and_by_class(tiny):
    queries = [
        MapQuery(_photo(SIDE, SIDE, seed=n), _random(SIDE, SIDE, seed=n), n % 2) for n in range(5)
    ]
    areas = np.array(insertion_deletion(tiny, queries))
    metric = InsertionDeletionMetric(tiny, n_classes=4)
    metric.update(queries[:3])
    other = InsertionDeletionMetric(tiny, n_classes=4)
    other.update(queries[3:])
    metric.merge_state(other)
    found = {name: value.item() for name, value in metric.compute().items()}
    insertion, deletion = areas.mean(0)
    assert found == pytest.approx(
        {"insertion": insertion, "deletion": deletion, "overall": insertion - deletion}
    )
    by_class = metric.class_figures(metric.sums)["insertion"].tolist()
    expected = [areas[0::2, 0].mean(), areas[1::2, 0].mean(), math.nan, math.nan]
    assert by_class == pytest.approx(expected, nan_ok=True)
    resampled = torch.stack([metric.sums, 2 * metric.sums, 0 * metric.sums])
    assert metric.figures(resampled)["deletion"].tolist() == pytest.approx(
        [deletion, deletion, math.nan], nan_ok=True
    )


def test_a_metric_of_all_classes_together_has_no_weights_and_needs_no_classifier(tiny):
    queries = [MapQuery(_photo(SIDE, SIDE), RANDOM, index) for index in (0, 3)]
    metric = InsertionDeletionMetric(tiny, CurveSettings(share=0.2), batch_size=3)
    metric.update(queries)
    areas = insertion_deletion(tiny, queries, CurveSettings(share=0.2), batch_size=3)
    assert metric.sums[0].tolist() == pytest.approx([*np.sum(areas, axis=0), 2])
    metric.persistent(True)
    assert list(metric.state_dict()) == ["sums"]
    assert list(metric.parameters()) == []
    without = InsertionDeletionMetric()
    without.sums += without.observe(InsertionDeletion(0.75, 0.25))
    assert without.figures(without.sums)["overall"] == 0.5
    with pytest.raises(SessError, match="give it a backbone"):
        without.update(queries)

"""SESS with a search: the same patches have the same bits, however they came to be scored."""

import itertools

import numpy as np
import pytest
import torch
import torchvision.models as tvm
from skimage import data
from torch import nn

from sess_kernels import SESS, Backbone, BlackBox, Preprocessing, SESSConfig, SessError
from sess_kernels.evidence import evidence
from sess_kernels.packing import groups
from sess_kernels.saliency import base_method
from sess_kernels.scorer import PatchScorer
from sess_kernels.searching import SearchScorer

CONFIG = SESSConfig(scales=4, pre_filter_ratio=0.8, search=True)
CLASSES = [[285, 281], [967], None]


def _photographs():
    return [data.chelsea(), data.coffee(), data.astronaut()]


def _equal(found, expected):
    for one, other in zip(itertools.chain(*found), itertools.chain(*expected), strict=True):
        assert (one.class_index, one.score, one.n_kept) == (
            other.class_index,
            other.score,
            other.n_kept,
        )
        assert torch.equal(one.map, other.map)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gradcam", "guided-backprop"])
def test_maps_do_not_depend_on_what_is_searched_together(lite0, method):
    explain = SESS(lite0, method, CONFIG)
    together = explain(_photographs(), CLASSES)
    alone = [
        explain([image], [classes])[0]
        for image, classes in zip(_photographs(), CLASSES, strict=True)
    ]
    _equal(together, alone)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gradcam", "guided-backprop"])
def test_the_halves_give_what_the_whole_gives(lite0, method):
    explain = SESS(lite0, method, CONFIG)
    scores = explain.score_patches(_photographs(), CLASSES)
    _equal(explain.explain_patches(_photographs(), scores), explain(_photographs(), CLASSES))


@pytest.mark.slow
def test_fewer_forwards_give_nearly_the_exact_map(lite0):
    exact = SESS(lite0, config=SESSConfig(scales=10, pre_filter_ratio=0.9))
    search = SESS(lite0, config=SESSConfig(scales=10, pre_filter_ratio=0.9, search=True))
    images, classes = _photographs()[:2], CLASSES[:2]
    expected, found = exact(images, classes), search(images, classes)
    assert search.packing.patches <= 0.6 * exact.packing.patches
    for one, other in zip(itertools.chain(*found), itertools.chain(*expected), strict=True):
        assert (one.class_index, one.score, one.n_kept) == (
            other.class_index,
            other.score,
            other.n_kept,
        )
        both = np.stack([one.map.flatten(), other.map.flatten()])
        assert np.corrcoef(both)[0, 1] > 0.98


def _small(channels=4, classes=3):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, channels, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    how = Preprocessing(input_size=16)
    model = nn.Sequential(*layers, nn.Linear(channels, classes))
    return Backbone(model, name="small", preprocessing=how)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_what_is_scored_has_the_bits_of_an_exact_run(draw, batch_size):
    config = SESSConfig(scales=8, scale_increment=8, pre_filter_ratio=0.9, search=True)
    config, backbone, method = config.for_input(16), _small(), base_method("gradcam")
    images = [torch.tensor(draw(40, 70, seed)).permute(2, 0, 1) for seed in range(5)]
    classes = [[0], [1, 2], None, [2], [0, 1, 2]]
    [spans] = groups(images, config, 16, 10_000)
    search = SearchScorer(backbone, config, batch_size, method)
    found = search(images, spans, classes, 1)
    expected = PatchScorer(backbone, config, batch_size, method)(images, spans, classes, 1)
    assert found.classes == expected.classes
    known = (found.scores >= 0).all(1)
    assert torch.equal(known, found.rows >= 0)
    assert torch.equal(found.scores[known], expected.scores[known])
    assert torch.equal(found.features[found.rows[known]], expected.features[known])
    assert search.packing.patches == known.sum() < len(known)


def test_fast_searches_in_bfloat16_and_keeps_float32_scores(draw):
    settings = {"scales": 8, "scale_increment": 8, "pre_filter_ratio": 0.9}
    config = SESSConfig(**settings, search=True)
    images, classes = [draw(40, 70, seed) for seed in range(3)], [[0], [1, 2], None]
    fast = SESS(_small(), config=config, batch_size=4, precision="fast")
    truth = SESS(_small(), config=SESSConfig(**settings), batch_size=4)
    scores = fast.score_patches(images, classes)
    for one, other in zip(scores, truth.score_patches(images, classes), strict=True):
        known = one.scores >= 0
        assert one.classes == other.classes
        assert config.kept(known.shape[1]) <= known[0].sum() < known.shape[1]
        assert torch.equal(one.scores[known], other.scores[known])
    _equal(fast.explain_patches(images, scores), fast(images, classes))


@pytest.mark.parametrize("classes", [[[], [1]], [[2, 0], []], [[], []]])
def test_an_image_without_classes_is_no_hindrance(draw, classes):
    settings = {"scales": 8, "scale_increment": 8, "pre_filter_ratio": 0.9}
    images = [draw(40, 70, seed) for seed in range(2)]
    explain = SESS(_small(), config=SESSConfig(**settings, search=True), batch_size=4)
    found = explain(images, classes)
    assert [[one.class_index for one in of_image] for of_image in found] == classes
    for image, some, expected in zip(images, classes, found, strict=True):
        _equal(explain([image], [some]), [expected])


def test_device_batches_are_full_while_images_are_left(draw):
    config = SESSConfig(scales=8, scale_increment=8, pre_filter_ratio=0.9, search=True)
    images = [draw(40, 70, seed) for seed in range(40)]
    explain = SESS(_small(), config=config, batch_size=8)
    explain(images, [[0]] * len(images))
    assert explain.packing.full / explain.packing.batches > 0.9


def test_evidence_is_the_gradient_of_the_log_score(lite0):
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([285, 7])
    with torch.no_grad():
        features, _ = lite0(images)
    found = evidence(lite0, features, classes)
    leaf = features.clone().requires_grad_()
    log_score = lite0.head(leaf).log_softmax(1).gather(1, classes[:, None]).sum()
    [gradient] = torch.autograd.grad(log_score, leaf)
    expected = (gradient.sum((2, 3), keepdim=True) * features).sum(1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["vgg11", "vit_b_16"])
def test_other_heads_give_evidence_by_autograd(name):
    torch.manual_seed(0)
    backbone = Backbone(tvm.get_model(name, weights=None), name=name)
    assert backbone.pooled_weight is None
    groups_ = {"one": [1, 2], "two": [3]}
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        features, _ = backbone(images)
        backbone.group_classes(groups_)
        found = evidence(backbone, features, torch.tensor([0, 1]))
    leaf = features.clone().requires_grad_()
    scores = backbone.scores(backbone.head(leaf))
    [gradient] = torch.autograd.grad(scores[[0, 1], [0, 1]].log().sum(), leaf)
    weight = backbone.spatial(gradient).sum((2, 3), keepdim=True)
    expected = (weight * backbone.spatial(features)).sum(1)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_a_black_box_cannot_be_searched():
    def classify(images):
        return np.zeros((len(images), 2), np.float32)

    backbone = BlackBox(classify, name="box")
    with pytest.raises(SessError, match="box is a black box; a search looks into the network"):
        SESS(backbone, "rise", CONFIG)

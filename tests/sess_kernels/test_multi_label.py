"""Classifiers of which a sigmoid scores each class."""

import sys
import types

import pytest
import torch
from torch import nn
from torch.nn.functional import logsigmoid

from sess_kernels import SESS, Backbone, Preprocessing, SESSConfig, SessError, load_backbone
from sess_kernels.backbones.runtimes import with_runtime
from sess_kernels.evidence import evidence


def _backbone(*, pooled=True, multi_label=True):
    torch.manual_seed(3)
    middle = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if pooled else [nn.Flatten(), nn.Dropout()]
    body = [nn.Conv2d(3, 8, 4, stride=4), nn.ReLU()]
    model = nn.Sequential(*body, *middle, nn.Linear(8 if pooled else 8 * 8 * 8, 5))
    how = Preprocessing(input_size=32)
    return Backbone(model, name="many", preprocessing=how, multi_label=multi_label)


PATCHES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
CLASSES = torch.tensor([4, 0, 2])


def test_scores_are_sigmoids_and_the_target_a_logit():
    backbone = _backbone()
    _, logits = backbone(PATCHES)
    torch.testing.assert_close(backbone.scores(logits), torch.sigmoid(logits))
    assert backbone.scores(logits.bfloat16()).dtype == torch.float32
    assert torch.equal(backbone.target(logits, CLASSES), logits[range(3), CLASSES])


def test_bits_of_a_score_do_not_depend_on_its_place():
    backbone, logits = _backbone(), torch.linspace(-30, 30, 85).view(17, 5)
    alone = torch.cat([backbone.scores(row[None]) for row in logits])
    assert torch.equal(backbone.scores(logits), alone)
    classes = torch.arange(17) % 5
    change = backbone.log_score_gradient(logits, classes)[range(17), classes]
    torch.testing.assert_close(change, torch.sigmoid(-logits[range(17), classes]))


@pytest.mark.parametrize("pooled", [True, False])
def test_evidence_is_that_of_the_log_sigmoid(pooled):
    backbone = _backbone(pooled=pooled)
    assert (backbone.pooled_weight is not None) == pooled
    features = backbone(PATCHES)[0].detach()
    leaf = features.clone().requires_grad_()
    score = logsigmoid(backbone.head(leaf))[range(3), CLASSES]
    [gradient] = torch.autograd.grad(score.sum(), leaf)
    expected = (gradient.sum((2, 3), keepdim=True) * features).sum(1)
    found = evidence(backbone, features, CLASSES)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_maps_are_those_of_the_logit_and_scores_alone_differ(draw):
    found = []
    for multi_label in (True, False):
        explain = SESS(_backbone(multi_label=multi_label), config=SESSConfig(scales=1))
        found.append(explain([draw(40, 70)], [[4]], keep_patches=True)[0][0])
    many, one = found
    assert [p.score for p in many.patches] != [p.score for p in one.patches]
    maps = zip(many.patches, one.patches, strict=True)
    assert all(torch.equal(a.map, b.map) and a.map.max() > 0 for a, b in maps)


def test_a_search_goes_by_sigmoids(draw):
    scores = []
    for search in (False, True):
        config = SESSConfig(scales=8, scale_increment=16, pre_filter_ratio=0.9, search=search)
        [found] = SESS(_backbone(), config=config).score_patches([draw(80, 140)], [[4]])
        scores.append(found.scores[0])
    exact, searched = scores
    known = searched >= 0
    assert 0 < known.sum() < len(known)
    assert torch.equal(searched[known], exact[known])
    assert exact.argmax() == searched.argmax()


def test_a_runtime_keeps_the_way_of_scoring():
    backbone = with_runtime(_backbone(), "torch", 4, torch.bfloat16)
    assert backbone.multi_label


def test_groups_are_refused():
    with pytest.raises(SessError, match="classes of many cannot be grouped: a sigmoid scores"):
        _backbone().group_classes({"one": [0]})


def test_weights_bring_names_and_the_way_of_scoring(monkeypatch):
    module = types.ModuleType("own_models")
    module.make = lambda: nn.Sequential(_backbone().body, _backbone().head)
    monkeypatch.setitem(sys.modules, "own_models", module)
    given = {"state_dict": module.make().state_dict(), "multi_label": True}
    backbone = load_backbone("own_models:make", class_names=list("abcde"), **given)
    assert (backbone.class_names, backbone.multi_label) == (("a", "b", "c", "d", "e"), True)
    with pytest.raises(SessError, match="2 class names were given but own_models:make has 5 class"):
        load_backbone("own_models:make", class_names=["cat", "dog"], **given)

"""The halves of a call, which may run in different processes: the bits of the whole."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import timm
import torch
import torchvision.models as tvm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from skimage import data
from torch import nn

from sess_kernels import SESS, Backbone, BlackBox, Preprocessing, SESSConfig, batches
from sess_kernels import explain as explain_
from sess_kernels.saliency import METHODS, base_method

_QUICK = {
    "augmented-gradcam": {"n_augmentations": 2, "iterations": 3},
    "extremal-perturbation": {"iterations": 1},
    "groupcam": {"n_groups": 4},
    "integrated-gradients": {"steps": 2},
    "rise": {"n_masks": 8},
    "scorecam": {"max_channels": 4},
    "smooth-gradcam++": {"n_samples": 2},
    "smoothgrad": {"n_samples": 2},
    "xrai": {"steps": 2, "algorithm": "fast"},
}
_SIZES = [(40, 56), (33, 20), (30, 36)]
_CLASSES = [[1, 4], None, [3, 0, 2]]
_TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2}


def _convolutions():
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 40, 3, 2, 1), nn.ReLU6()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 5)),
    )
    return Backbone(model, name="tiny", preprocessing=Preprocessing(input_size=32))


def _two_layers():
    """Features whose gradient takes a backward pass, and scores that tell patches apart."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.GELU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()),
        *(nn.Linear(128, 16), nn.Tanh(), nn.Linear(16, 5)),
    )
    return Backbone(
        model, name="two layers", preprocessing=Preprocessing(input_size=32), target_layer="1"
    )


def _vit():
    torch.manual_seed(0)
    model = tvm.VisionTransformer(32, 8, 3, 2, 24, 48, num_classes=5)
    nn.init.normal_(model.heads.head.weight)
    return Backbone(model, name="vit", preprocessing=Preprocessing(input_size=32))


def _timm_vit():
    torch.manual_seed(0)
    model = timm.models.vision_transformer.VisionTransformer(
        **_TINY, num_classes=5, reg_tokens=4, global_pool="avg"
    )
    nn.init.normal_(model.head.weight)
    return Backbone(model, name="timm vit", preprocessing=Preprocessing(input_size=32))


def _grouped():
    return _convolutions().group_classes({"a": [0, 2], "b": [3], "c": [1, 4], "d": [2, 3, 4]})


def _method(name):
    return base_method(name, _QUICK.get(name))


def _config(ratio, **changes):
    return SESSConfig(scales=2, scale_increment=24, pre_filter_ratio=ratio, **changes)


def _shipped(scores):
    return pickle.loads(pickle.dumps(scores))


def _halves(explain, images, classes, top_k=1, keep_patches=False):
    scores = _shipped(explain.score_patches(images, classes, top_k))
    return explain.explain_patches(images, scores, keep_patches)


def _assert_same(found, expected):
    assert [len(one) for one in found] == [len(one) for one in expected]
    for one, other in zip(itertools.chain(*found), itertools.chain(*expected), strict=True):
        for name in ("class_index", "score", "n_kept"):
            assert getattr(one, name) == getattr(other, name)
        assert torch.equal(one.map, other.map)
        for patch, its in zip(one.patches, other.patches, strict=True):
            assert torch.equal(patch.map, its.map)
            for name in ("scale", "window", "box", "score"):
                assert getattr(patch, name) == getattr(its, name)


@pytest.fixture
def images(draw):
    return [draw(*size, seed) for seed, size in enumerate(_SIZES)]


_SLOW = {"xrai", "extremal-perturbation"}
_EVERY = [
    pytest.param(name, ratio, marks=[pytest.mark.slow] if name in _SLOW else [])
    for name in sorted(METHODS)
    for ratio in (0.0, 0.5, 0.9)
]


@pytest.mark.parametrize(("name", "ratio"), _EVERY)
def test_every_method_has_the_bits_of_the_whole(name, ratio, images):
    explain = SESS(_convolutions(), _method(name), _config(ratio), batch_size=3)
    whole = explain(images, _CLASSES, 2, keep_patches=True)
    assert any(one.map.any() for one in itertools.chain(*whole))
    _assert_same(_halves(explain, images, _CLASSES, 2, keep_patches=True), whole)


@pytest.mark.parametrize("ratio", [0.0, 0.5])
@pytest.mark.parametrize("make", [_vit, _timm_vit, _two_layers, _grouped])
@pytest.mark.parametrize("name", ["gradcam", "guided-backprop", "groupcam", "smooth-gradcam++"])
def test_transformers_two_layer_heads_and_class_groups(name, make, ratio, images):
    explain = SESS(make(), _method(name), _config(ratio), batch_size=4)
    whole = explain(images, [[1, 2], None, [3, 0, 2]], 2)
    assert any(one.map.any() for one in itertools.chain(*whole))
    _assert_same(_halves(explain, images, [[1, 2], None, [3, 0, 2]], 2), whole)
    given = [[1, 2], [0], [3, 0, 2]]  # at r = 0 a gradient's maps come with the scores
    _assert_same(_halves(explain, images, given), explain(images, given))


@pytest.mark.parametrize(
    ("precision", "ratio"), [("fast", 0.9), ("fast", 0.5), ("bf16", 0.0), ("fp16", 0.5)]
)
@pytest.mark.parametrize("name", ["gradcam", "guided-backprop", "groupcam"])
@pytest.mark.parametrize("make", [_convolutions, _vit])
def test_every_precision(make, name, ratio, precision, images):
    explain = SESS(make(), _method(name), _config(ratio), batch_size=4, precision=precision)
    whole = explain(images, _CLASSES, 2, keep_patches=True)
    _assert_same(_halves(explain, images, _CLASSES, 2, keep_patches=True), whole)
    [scores, *_] = explain.score_patches(images, _CLASSES, 2)
    assert bool((scores.scores == -1).any()) == (precision == "fast" and ratio == 0.9)


@given(
    sizes=st.lists(st.tuples(st.integers(9, 60), st.integers(9, 60)), min_size=1, max_size=4),
    batch_size=st.integers(1, 7),
    ratio=st.sampled_from([0.0, 0.3, 0.5, 0.9, 0.99]),
    method=st.sampled_from(["gradcam", "guided-backprop", "groupcam", "layercam"]),
    precision=st.sampled_from(["fp32", "fast", "bf16"]),
    group_bytes=st.sampled_from([1, 100_000, 2**28]),
    weights=st.sampled_from(["score", "relative"]),
    seed=st.integers(0, 99),
)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_halves_in_other_groups_than_the_whole(
    draw, monkeypatch, sizes, batch_size, ratio, method, precision, group_bytes, weights, seed
):
    random = np.random.default_rng(seed)
    images = [draw(*size, seed + number) for number, size in enumerate(sizes)]
    classes = [random.permutation(5)[: random.integers(0, 4)].tolist() for _ in images]
    backbone, config = _convolutions(), _config(ratio, channel_weights=weights)
    whole = SESS(backbone, _method(method), config, batch_size, precision)(images, classes)
    first = SESS(backbone, _method(method), config, batch_size, precision)
    with monkeypatch.context() as patch:
        patch.setattr(batches, "_GROUP_BYTES", group_bytes)
        patch.setattr(explain_, "_MAPS_BYTES", group_bytes)
        scores = _shipped(first.score_patches(images, classes))
    second = SESS(copy.deepcopy(backbone), _method(method), config, batch_size, precision)
    _assert_same(second.explain_patches(images, scores), whole)
    order = random.permutation(len(images))
    mixed = first.explain_patches([images[i] for i in order], [scores[i] for i in order])
    _assert_same(mixed, [whole[i] for i in order])
    for image, one, expected in zip(images, scores, whole, strict=True):
        _assert_same(second.explain_patches([image], [one]), [expected])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "ratio", "precision"),
    [
        ("gradcam", 0.0, "fp32"),
        ("gradcam", 0.5, "fp32"),
        ("gradcam", 0.9, "fast"),
        ("gradcam", 0.5, "bf16"),
        ("guided-backprop", 0.0, "fp32"),
        ("guided-backprop", 0.9, "fast"),
        ("groupcam", 0.9, "fp32"),
        ("layercam", 0.9, "bf16"),
    ],
)
def test_photographs(lite0, method, ratio, precision):
    images = [data.chelsea(), data.astronaut()[:160]]
    classes = [[285, 281], None]
    config = SESSConfig(scales=3, pre_filter_ratio=ratio)
    explain = SESS(lite0, method, config, precision=precision)
    whole = explain(images, classes, 2, keep_patches=True)
    scores = _shipped(explain.score_patches(images, classes, 2))
    second = SESS("lite0", method, config, precision=precision)
    _assert_same(second.explain_patches(images, scores, keep_patches=True), whole)
    for image, one, expected in zip(images, scores, whole, strict=True):
        _assert_same(second.explain_patches([image], [one], keep_patches=True), [expected])


def test_a_black_box_is_not_asked_for_features(images):
    box = BlackBox(lambda x: x.mean((2, 3)), name="box", preprocessing=Preprocessing(input_size=32))
    explain = SESS(box, "rise", _config(0.5), method_options={"n_masks": 8})
    classes = [[1, 2], None, [0]]
    _assert_same(_halves(explain, images, classes), explain(images, classes))
    scored = explain.packing.batches
    explain.explain_patches(images, explain.score_patches(images, classes))
    assert explain.packing.batches - scored == scored // 2  # of two scorings, in whole and half


def test_the_score_is_the_mean_of_a_column_of_all_scores(draw):
    """Torch sums eight floats and more in another order where they are adjacent."""
    image = torch.tensor(draw(32, 20 * 32)).permute(2, 0, 1)
    for backbone in (_convolutions(), _grouped()):
        explain = SESS(backbone, config=_config(0.5))
        [[span]] = explain.score.groups([image])
        scores = explain.score([image], [span], [[1, 2]], 1).scores
        assert len(span.grids[0]) == 20
        expected = [scores[span.first_scale, index].mean().item() for index in (1, 2)]
        assert [one.score for one in explain([image], [[1, 2]])[0]] == expected
        assert [one.score for one in _halves(explain, [image], [[1, 2]])[0]] == expected


def test_on_a_device(images, device):
    backbone = _vit().to(device)
    for name, ratio in itertools.product(("gradcam", "guided-backprop", "groupcam"), (0.0, 0.5)):
        explain = SESS(backbone, _method(name), _config(ratio), batch_size=8)
        classes = [[1, 2], [0], None]
        _assert_same(_halves(explain, images, classes), explain(images, classes))

"""What the halves of a call exchange, what they run, and what they refuse."""

import pickle

import pytest
import torch
from torch import nn

from sess_kernels import SESS, Backbone, PatchScores, Preprocessing, SESSConfig
from sess_kernels.saliency import base_method
from sess_kernels.windows import grids


def _backbone():
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(8, 5),
    )
    return Backbone(model, name="small", preprocessing=Preprocessing(input_size=32))


def _config(ratio):
    return SESSConfig(scales=2, scale_increment=24, pre_filter_ratio=ratio)


@pytest.fixture
def images(draw):
    return [draw(40, 56, 0), draw(33, 20, 1), draw(30, 36, 2)]


def test_scores_are_those_of_the_classes_alone(images):
    backbone, config = _backbone(), _config(0.5)
    explain = SESS(backbone, config=config, batch_size=3)
    found = explain.score_patches(images, [[4, 1], None, []], top_k=3)
    assert found[0].classes == (4, 1)
    assert found[2].classes == ()
    assert tuple(found[2].scores.shape) == (
        0,
        sum(map(len, grids(*images[2].shape[:2], config, 32))),
    )
    for one in found:
        assert one.scores.dtype == torch.float32
        assert one.scores.is_contiguous()
        assert not one.scores.requires_grad
        assert len(pickle.dumps(one)) < 2000
    every = explain.score_patches(images[1:2], [list(range(5))])[0].scores
    first_scale = every[:, : len(grids(*images[1].shape[:2], config, 32)[0])].mean(1)
    assert found[1].classes == tuple(first_scale.argsort(descending=True)[:3].tolist())
    assert torch.equal(found[1].scores, every[list(found[1].classes)])
    torch.testing.assert_close(every.sum(0), torch.ones(every.shape[1]))


def _forwards(backbone, call):
    sizes = []
    handle = backbone.body.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    try:
        call()
    finally:
        handle.remove()
    return sizes


def test_only_kept_patches_are_run_again_and_only_for_features(images):
    backbone = _backbone()
    explain = SESS(backbone, config=_config(0.9), batch_size=2)
    scores = explain.score_patches(images, [[1], [1], [1]])
    n_kept = sum(explain.config.kept(one.scores.shape[1]) for one in scores)
    ran = _forwards(backbone, lambda: explain.explain_patches(images, scores))
    assert ran == [2] * -(-n_kept // 2)
    box = base_method(lambda patches, _: patches[:, 0])
    for method in (box, base_method("guided-backprop")):
        explain = SESS(backbone, method, _config(0.9), batch_size=2)
        ran = _forwards(backbone, lambda: explain.explain_patches(images, scores))  # noqa: B023
        assert ran == ([] if method is box else [2] * -(-n_kept // 2))


def test_what_does_not_belong_together_is_told(images):
    explain = SESS(_backbone(), config=_config(0.5))
    scores = explain.score_patches(images, [[1], [2], [3]])
    other = SESS(explain.backbone, config=SESSConfig(scales=1)).score_patches(images, [[1]] * 3)
    with pytest.raises(ValueError, match=r"Expected scores \(1, 8\) of image 0 but got \(1, 2\)"):
        explain.explain_patches(images, other)
    with pytest.raises(ValueError, match="Expected classes of 3 images but got 2"):
        explain.explain_patches(images, scores[:2])
    with pytest.raises(ValueError, match="Expected classes of 0 to 4 but got 7"):
        explain.explain_patches(images[:1], [PatchScores((7,), scores[0].scores)])
    with pytest.raises(ValueError, match="Expected classes of 0 to 4 but got 7"):
        explain.score_patches(images[:1], [[7]])
    assert explain.score_patches([], []) == []
    assert explain.explain_patches([], []) == []


def test_images_without_classes_take_no_forward(images):
    backbone = _backbone()
    explain = SESS(backbone, config=_config(0.5))
    scores = explain.score_patches(images, [[], [], []])
    assert _forwards(backbone, lambda: explain.explain_patches(images, scores)) == []
    assert explain.explain_patches(images, scores) == [[], [], []]

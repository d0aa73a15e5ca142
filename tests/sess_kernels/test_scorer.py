"""Scoring in reduced precision and in one pass: the same bits where that is promised."""

import itertools

import pytest
import torch
import torchvision.models as tvm
from skimage import data
from torch import nn

from sess_kernels import SESS, Backbone, BlackBox, Preprocessing, SESSConfig, SessError
from sess_kernels.packing import groups
from sess_kernels.precision import MARGIN
from sess_kernels.saliency import base_method
from sess_kernels.saliency.gradcam import GradCAM
from sess_kernels.scorer import PatchScorer


def _windows(found):
    return {(patch.scale, patch.window) for patch in found.patches}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gradcam", "guided-backprop"])
def test_fast_keeps_the_patches_and_the_bits_of_fp32(lite0, method):
    images = [data.chelsea(), data.coffee(), data.astronaut()]
    classes = [[285, 281], [967], None]
    config = SESSConfig(scales=5, pre_filter_ratio=0.9)
    exact, fast = (
        SESS(lite0, method, config, precision=name)(images, classes, keep_patches=True)
        for name in ("fp32", "fast")
    )
    for one, other in zip(itertools.chain(*exact), itertools.chain(*fast), strict=True):
        assert one.class_index == other.class_index
        assert _windows(one) == _windows(other)
        assert torch.equal(one.map, other.map)
        assert (one.score, one.n_kept) == (other.score, other.n_kept)


def _scorer(precision, ratio=0.9):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    how = Preprocessing(input_size=16)
    backbone = Backbone(nn.Sequential(*layers), name="small", preprocessing=how)
    config = SESSConfig(scales=8, scale_increment=8, pre_filter_ratio=ratio).for_input(16)
    return PatchScorer(backbone, config, 4, base_method("gradcam"), precision), config


def test_fast_repeats_the_hopeful_patches_and_the_first_scale_alone(draw):
    scorer, config = _scorer("fast")
    exact, _ = _scorer("fp32")
    images = [torch.tensor(draw(40, 70, seed)).permute(2, 0, 1) for seed in range(3)]
    [spans] = groups(images, config, 16, 10_000)
    found = scorer(images, spans, [[0], [1, 2], None], 1)
    expected = exact(images, spans, [[0], [1, 2], None], 1)
    assert found.classes[2] == expected.classes[2]
    for span, classes in zip(spans, found.classes, strict=True):
        scores = found.scores[span.first : span.stop]
        again = (scores >= 0).all(1)
        total = span.stop - span.first
        least = config.kept(total) + int(MARGIN * total)
        assert least <= again.sum() <= len(classes) * (least + 1) + len(span.grids[0])
        assert again[: len(span.grids[0])].all()
        rows = span.first + again.nonzero().flatten()
        assert torch.equal(found.scores[rows], expected.scores[rows])
        assert torch.equal(found.features[rows], expected.features[rows])


def test_a_patch_lost_by_bfloat16_is_found_again_in_the_margin(draw, monkeypatch):
    scorer, config = _scorer("fast")
    exact, _ = _scorer("fp32")
    image = torch.tensor(draw(40, 70)).permute(2, 0, 1)
    [spans] = groups([image], config, 16, 10_000)
    truth = exact([image], spans, [[0]], 1).scores[:, 0]
    best = truth.argsort(descending=True)
    lost, kept = best[0], config.kept(len(truth))
    rough = scorer._score_all

    def confused(images, spans, keep):
        scores = rough(images, spans, keep)
        order = scores[:, 0].argsort(descending=True)
        scores[lost, 0] = scores[order[kept + 1], 0]  # just behind those that would be kept
        return scores

    monkeypatch.setattr(scorer, "_score_all", confused)
    found = scorer([image], spans, [[0]], 1).scores[:, 0]
    assert found.argmax() == lost
    assert torch.equal(found[best[:kept]], truth[best[:kept]])


def test_where_much_is_kept_fast_is_fp32(lite0, draw):
    images = [draw(60, 80)]
    for ratio, reduced in ((0.0, False), (0.65, False), (0.7, True), (0.99, True)):
        scorer, _ = _scorer("fast", ratio)
        assert (scorer._first is not scorer.backbone) == reduced
    config = SESSConfig(scales=2, pre_filter_ratio=0.5)
    [[one]], [[other]] = (
        SESS(lite0, config=config, precision=name)(images, [[3]]) for name in ("fp32", "fast")
    )
    assert torch.equal(one.map, other.map)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.15), ("fp16", 0.02)])
def test_reduced_precision_is_near(lite0, chelsea, precision, tolerance):
    config = SESSConfig(scales=3)
    [[one]] = SESS(lite0, config=config)([chelsea], [[285]])
    [[other]] = SESS(lite0, config=config, precision=precision)([chelsea], [[285]])
    assert 0 < (one.map - other.map).abs().mean() < tolerance / 2
    assert other.score == pytest.approx(one.score, abs=tolerance)
    assert other.map.dtype == torch.float32


@pytest.mark.parametrize("method", ["gradient", "guided-backprop"])
def test_one_pass_scores_and_explains(lite0, draw, method):
    """Where all patches are kept there is one forward for each, with the maps of the two passes."""
    images, classes = [draw(60, 90, 1), draw(50, 50, 2)], [[5], [7, 9]]
    config = SESSConfig(scales=2)
    forwards = []
    handle = lite0.body.register_forward_hook(lambda *_: forwards.append(1))
    try:
        explain = SESS(lite0, method, config)
        explain(images, [[5], [7]])
    finally:
        handle.remove()
    assert len(forwards) == 3  # 6 + 5 patches in batches of 4
    found = explain(images, classes)
    explain.score._method = None
    expected = explain(images, classes)
    for one, other in zip(itertools.chain(*found), itertools.chain(*expected), strict=True):
        assert torch.equal(one.map, other.map)
        assert one.score == other.score


def test_a_neighbour_without_classes_changes_no_bits(draw):
    torch.manual_seed(0)
    model = tvm.VisionTransformer(32, 8, 3, 2, 24, 48, num_classes=5)
    nn.init.normal_(model.heads.head.weight)
    backbone = Backbone(model, name="vit", preprocessing=Preprocessing(input_size=32))
    config = SESSConfig(scales=2, scale_increment=16)
    explain = SESS(backbone, "gradient", config)
    images = [draw(40, 60, 1), draw(50, 50, 2)]
    [[alone]] = explain(images[:1], [[1]])
    [[together], _] = explain(images, [[1], None])
    assert torch.equal(alone.map, together.map)
    assert alone.score == together.score


def test_what_cannot_be_is_told(lite0):
    box = BlackBox(lambda images: images.mean((2, 3)), name="box")
    with pytest.raises(SessError, match="unknown precision 'fp8'"):
        SESS(lite0, precision="fp8")
    with pytest.raises(SessError, match="box is a black box; its precision is its own"):
        SESS(box, "rise", precision="bf16")
    with pytest.raises(SessError, match="Grad-CAM looks into the network but box is a black box"):
        SESS(box, "gradcam")
    with pytest.raises(SessError, match="batch_size must be a whole number of at least 1"):
        SESS(lite0, batch_size=0)
    with pytest.raises(SessError, match="method must be an object but is the class GradCAM"):
        SESS(lite0, GradCAM)


def test_what_is_not_finite_is_an_error_and_no_map(lite0, draw):
    config = SESSConfig(scales=1)
    method = lambda images, _: images[:, 0] / 0  # noqa: E731
    with pytest.raises(SessError, match="maps of black box are not finite"):
        SESS(lite0, method, config)([draw(40, 40)], [[1]])
    nan = BlackBox(lambda images: images.mean((2, 3)) * float("nan"), name="box")
    with pytest.raises(SessError, match="scores of box are not finite"):
        SESS(nan, lambda images, _: images[:, 0], config)([draw(40, 40)], [[1]])


def test_a_callable_may_write_into_its_images(lite0, draw):
    def erase(images, class_index):
        maps = images.abs().amax(1) * (class_index[:, None, None] + 1)
        images[:] = 0
        return maps

    explain = SESS(lite0, erase, SESSConfig(scales=2))
    [[one, other]] = explain([draw(60, 60)], [[1, 2]])
    assert one.map.max() == other.map.max() == 1


def test_black_boxes_of_one_batch_size_and_wrong_answers():
    sizes = []

    def classify(images):
        sizes.append(len(images))
        if len(images) != 3:
            raise ValueError("Got invalid dimensions\nfor input")
        return images.mean((2, 3))

    box = BlackBox(classify, name="box", batch_size=3)
    SESS(box, "rise", SESSConfig(scales=2), method_options={"n_masks": 4})(
        [data.chelsea()[:60, :60]], [[1]]
    )
    assert set(sizes) == {3}
    with pytest.raises(SessError, match="box failed: Got invalid dimensions for input"):
        BlackBox(classify, name="box")
    with pytest.raises(SessError, match="must give probabilities that sum to 1"):
        BlackBox(lambda x: x.mean((2, 3)) + 1, gives="probabilities")
    with pytest.raises(SessError, match="one row of classes for each of 2 images"):
        BlackBox(lambda x: x.mean())

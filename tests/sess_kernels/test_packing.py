"""How full device batches are, counted by hand, and what an error within one leaves behind."""

import math
from itertools import chain

import pytest
import torch
from torch import nn

from sess_kernels import SESS, Backbone, Preprocessing, SESSConfig, batches
from sess_kernels.packing import Packing
from sess_kernels.windows import count


def _backbone():
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(8, 5),
    )
    return Backbone(model, name="small", preprocessing=Preprocessing(input_size=32))


def _sess(ratio=0.0, batch_size=4, method="gradcam", precision="fp32"):
    config = SESSConfig(scales=2, scale_increment=16, pre_filter_ratio=ratio)
    return SESS(_backbone(), method, config, batch_size, precision)


def _patches(explain, images):
    return [count(*image.shape[:2], explain.config, 32) for image in images]


def test_patches_that_fill_batches_exactly_leave_no_padding(draw):
    explain = _sess(batch_size=5)
    assert explain.packing == Packing()
    explain([draw(40, 40, seed) for seed in range(3)], [[1]] * 3)  # 5 patches each
    assert explain.packing == Packing(batches=3, full=3, patches=15, slots=15)
    explain([draw(40, 40)], [[1]])
    assert explain.packing == Packing(batches=4, full=4, patches=20, slots=20)


@pytest.mark.parametrize("method", ["gradcam", "guided-backprop"])
def test_images_of_different_sizes_share_batches(draw, method):
    explain = _sess(method=method, batch_size=7)
    images = [draw(*size) for size in ((40, 40), (30, 90), (64, 33), (20, 21))]
    total = sum(_patches(explain, images))
    assert total % 7  # there is a last batch with padding
    n_batches = math.ceil(total / 7)
    expected = Packing(n_batches, n_batches - 1, total, 7 * n_batches)
    explain(images, [[1, 2]] * 4)
    assert explain.packing == expected


def test_each_group_pads_its_last_batch_alone(draw, monkeypatch):
    explain = _sess(batch_size=4)
    images = [draw(40, 40, seed) for seed in range(6)]
    scored = explain.score.groups([torch.zeros(3, 40, 40)])
    assert len(list(scored)) == 1
    patch_bytes = 4 * (5 + 8 * 16 * 16)  # scores and features, in float32
    monkeypatch.setattr(batches, "_GROUP_BYTES", 10 * patch_bytes)  # two images of 5 patches
    explain(images, [[1]] * 6)
    assert explain.packing == Packing(batches=9, full=6, patches=30, slots=36)


def test_halves_count_their_forwards(draw):
    explain = _sess(ratio=0.5, batch_size=4)
    images = [draw(40, 40, 1), draw(30, 90, 2), draw(64, 33, 3)]
    totals = _patches(explain, images)
    scores = explain.score_patches(images, [[1], [2], [3]])
    scoring = math.ceil(sum(totals) / 4)
    assert explain.packing.batches == scoring
    assert explain.packing.patches == sum(totals)
    explain.explain_patches(images, scores)
    kept = sum(map(explain.config.kept, totals))
    assert explain.packing.batches == scoring + math.ceil(kept / 4)
    assert explain.packing.patches == sum(totals) + kept
    assert explain.packing.slots == 4 * explain.packing.batches
    images_alone = _sess(ratio=0.5, method="gradient")
    images_alone.explain_patches(images, scores)
    assert images_alone.packing == Packing()


def test_fast_counts_what_it_repeats(draw):
    explain = _sess(ratio=0.9, precision="fast")
    sizes = []
    forward = explain.backbone.forward
    explain.backbone.forward = lambda x: sizes.append(len(x)) or forward(x)
    images = [draw(64, 200)]
    [total] = _patches(explain, images)
    [scores] = explain.score_patches(images, [[1]])
    repeated = int((scores.scores >= 0).sum())
    assert 0 < repeated < total
    assert explain.packing.batches == math.ceil(total / 4) + len(sizes)
    assert explain.packing.patches == total + repeated


class _OutOfMemory:
    """Lets a forward fail once, the one of this number."""

    def __init__(self, monkeypatch):
        self.calls, self.fails = 0, None
        forward = Backbone.forward

        def counted(backbone, patches):
            self.calls += 1
            if self.calls == self.fails:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return forward(backbone, patches)

        monkeypatch.setattr(Backbone, "forward", counted)

    def at(self, number):
        self.calls, self.fails = 0, number


@pytest.mark.parametrize(
    ("method", "ratio", "precision"),
    [
        ("gradcam", 0.0, "fp32"),
        ("gradcam", 0.9, "fast"),
        ("gradcam", 0.5, "bf16"),
        ("guided-backprop", 0.0, "fp32"),
        ("guided-backprop", 0.5, "fp32"),
        ("smooth-gradcam++", 0.5, "fp32"),
        ("integrated-gradients", 0.9, "fast"),
    ],
)
def test_out_of_memory_in_any_forward_spoils_nothing(draw, monkeypatch, method, ratio, precision):
    images = [draw(40, 56, 1), draw(33, 20, 2)]
    classes = [[1, 2], [0]]
    expected = _sess(ratio, 4, method, precision)(images, classes)
    device = _OutOfMemory(monkeypatch)
    explain = _sess(ratio, 4, method, precision)

    def whole():
        return explain(images, classes)

    def halves():
        return explain.explain_patches(images, explain.score_patches(images, classes))

    for call in (whole, halves):
        device.at(None)
        call()
        for number in sorted({1, 2, device.calls // 2, device.calls}):
            before = torch.backends.cudnn.deterministic
            device.at(number)
            with pytest.raises(torch.OutOfMemoryError):
                call()
            assert torch.is_grad_enabled()
            assert torch.backends.cudnn.deterministic == before
            for one, other in zip(chain(*call()), chain(*expected), strict=True):
                assert torch.equal(one.map, other.map)
                assert (one.score, one.n_kept) == (other.score, other.n_kept)


def test_out_of_memory_for_the_buffers_spoils_nothing(draw, monkeypatch):
    images, classes = [draw(40, 56, 1), draw(60, 200, 2)], [[1], [2]]
    expected = _sess(method="groupcam")(images, classes)
    explain = _sess(method="groupcam")
    explain(images[:1], classes[:1])
    empty = batches.DeviceBatches.empty
    for left in (0, 1):
        with monkeypatch.context() as patch:

            def fails(*given, left=[left]):  # noqa: B006
                left[0] -= 1
                if left[0] < 0:
                    raise torch.OutOfMemoryError("CUDA out of memory")
                return empty(*given)

            patch.setattr(batches.DeviceBatches, "empty", fails)
            with pytest.raises(torch.OutOfMemoryError):
                explain(images, classes)
        [[small]] = explain(images[:1], classes[:1])
        assert torch.equal(small.map, expected[0][0].map)
    for [one], [other] in zip(explain(images, classes), expected, strict=True):
        assert torch.equal(one.map, other.map)

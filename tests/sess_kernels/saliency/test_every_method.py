"""What every base method keeps, whatever it computes."""

import gc
import resource

import numpy as np
import pytest
import torch
import torchvision.models as tvm
from skimage import data
from torch import nn

from sess_kernels import SESS, Backbone, Preprocessing, SESSConfig
from sess_kernels.fuse import min_max, rescale
from sess_kernels.patches import resize
from sess_kernels.precision import exact_fp32
from sess_kernels.saliency import METHODS, Query, base_method

QUICK = {
    "augmented-gradcam": {"n_augmentations": 2, "iterations": 3},
    "extremal-perturbation": {"iterations": 3},
    "integrated-gradients": {"steps": 3},
    "rise": {"n_masks": 12},
    "scorecam": {"max_channels": 8},
    "smooth-gradcam++": {"n_samples": 2},
    "smoothgrad": {"n_samples": 2},
    "xrai": {"steps": 3},
}
"""Options under which a method takes few passes."""

NAMED = {
    *("gradcam", "guided-backprop", "groupcam", "cam", "gradcam++", "smooth-gradcam++"),
    *("layercam", "hirescam", "scorecam", "rise", "smoothgrad", "integrated-gradients"),
    *("gradient", "excitation-backprop", "extremal-perturbation", "augmented-gradcam", "xrai"),
}


def tiny(side=32, gain=1.0):
    """A network of a few layers, average pooling and one linear layer at its end."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 40, 3, 2, 1), nn.ReLU6()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 5)),
    )
    model[2].weight.data *= gain  # at zero the features are dead, the head is not
    model[2].bias.data *= gain
    return Backbone(model, name="tiny", preprocessing=Preprocessing(input_size=side))


def _method(name):
    return base_method(name, QUICK.get(name))


def test_the_methods_are_those_of_the_paper_and_its_rivals():
    assert set(METHODS) == NAMED
    titles = [kind.title for kind in METHODS.values()]
    assert len(set(titles)) == len(titles)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NAMED))
def test_one_scale_of_a_square_image_is_the_base_method(name, lite0):
    image = data.astronaut()
    method = _method(name)
    explain = SESS(lite0, method, SESSConfig(scales=1), batch_size=1)
    [[found]] = explain([image], [[652]])
    # the same bits in: a gradient jumps where rounding takes an activation past its kink
    pixels = lite0.normalize(torch.tensor(image).permute(2, 0, 1))[None]
    patch = resize(pixels.contiguous(memory_format=torch.channels_last), 224, 224)
    with torch.no_grad(), exact_fp32():
        features, _ = lite0(patch)
        query = Query(patch, features, torch.tensor([0]), torch.tensor([652]), 1)
        base = method(lite0, query)
    assert base.max() > base.min()
    big = nn.functional.interpolate(min_max(base, 224)[None], (224, 224), mode="bilinear")
    whole = nn.functional.interpolate(big, image.shape[:2], mode="bilinear")[0, 0]
    # SESS leaves a map at zero or below out of its mean, where it has none other either
    torch.testing.assert_close(found.map, rescale(whole.clamp_min(0)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", sorted(NAMED))
def test_without_evidence_the_map_is_zero(name):
    dead = tiny(gain=0.0)
    images = [np.zeros((40, 50, 3), np.uint8), np.full((33, 33, 3), 255, np.uint8)]
    images.append(np.random.default_rng(0).integers(0, 256, (36, 60, 3), dtype=np.uint8))
    explain = SESS(dead, _method(name), SESSConfig(scales=2, scale_increment=16), batch_size=3)
    for found in explain(images, [[0, 3]] * 3):
        for one in found:  # SESS itself refuses maps that are not finite
            assert not one.map.any()
            assert 0 < one.score < 1


@pytest.mark.parametrize("name", sorted(NAMED))
def test_black_and_constant_images_give_finite_maps(name, lite0):
    patches = torch.stack([torch.full((3, 224, 224), value / 128 - 1) for value in (0, 127, 255)])
    patches = patches.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        features, _ = lite0(patches)
        query = Query(patches, features, torch.arange(3), torch.tensor([7, 7, 285]), 3)
        maps = _method(name)(lite0, query)
    assert maps.isfinite().all()


@pytest.mark.parametrize("name", sorted(NAMED))
def test_same_bits_alone_and_together(name, draw):
    images = [draw(40, 56, seed) for seed in range(3)]
    classes = [[1], [4, 1], [0, 1, 2]]
    explain = SESS(
        tiny(), _method(name), SESSConfig(scales=2, scale_increment=16, pre_filter_ratio=0.4), 3
    )
    together = explain(images, classes)
    for image, given, expected in zip(images, classes, together, strict=True):
        [alone] = explain([image], [given])
        for one, other in zip(alone, expected, strict=True):
            assert torch.equal(one.map, other.map)


@pytest.mark.parametrize("name", sorted(NAMED))
def test_nothing_survives_a_call(name, draw):
    backbone = tiny()
    explain = SESS(backbone, _method(name), SESSConfig(scales=1), batch_size=2)

    def live():
        gc.collect()
        return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())

    counts = []
    for seed in range(6):
        [[found]] = explain([draw(40, 40, seed)], [[1]])
        assert found.map.grad_fn is None
        assert not found.map.requires_grad
        del found
        counts.append(live())
    assert counts[-1] == counts[2]
    for parameter in backbone.parameters():
        assert parameter.grad is None
        assert not parameter.requires_grad
    for module in backbone.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gradcam", "guided-backprop"])
def test_memory_stays_level_over_500_images(name, lite0, draw):
    explain = SESS(lite0, name, SESSConfig(scales=1))
    peaks = []
    for number in range(0, 500, 4):
        sizes = [(20 + (number + i) % 150, 30 + (number * 7 + i) % 140) for i in range(4)]
        explain([draw(*size, number) for size in sizes], [[number % 1000]] * 4)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)  # MB
    assert peaks[-1] - peaks[len(peaks) // 4] < 32


def test_class_groups_are_explained_by_every_method():
    """The score of a group of one output is that output's, and it has a map."""
    backbone = tiny()
    single = SESS(backbone, config=SESSConfig(scales=1))
    image = data.astronaut()[:60, :70]
    [[expected]] = single([image], [[3]])
    grouped = tiny().group_classes({"three": [3], "others": [0, 1, 2, 4]})
    for name in sorted(NAMED):
        three, others = SESS(grouped, _method(name), SESSConfig(scales=1))([image], [[0, 1]])[0]
        assert three.score == pytest.approx(expected.score)
        assert three.score + others.score == pytest.approx(1)
        assert three.map.max() == 1


@pytest.mark.parametrize("name", sorted(NAMED - {"cam", "excitation-backprop"}))
def test_a_transformer_is_explained_by_every_method_that_can(name, draw):
    """Tokens are no map until they are reshaped; a head with attention has no rule for two."""
    torch.manual_seed(0)
    model = tvm.VisionTransformer(32, 8, 3, 2, 24, 48, num_classes=5)
    nn.init.normal_(model.heads.head.weight)
    backbone = Backbone(model, name="vit", preprocessing=Preprocessing(input_size=32))
    explain = SESS(backbone, _method(name), SESSConfig(scales=2, scale_increment=16), 3)
    images = [draw(40, 56, 0), draw(33, 33, 1)]
    together = explain(images, [[1, 2], [3]])
    for found in together:
        for one in found:
            assert one.map.max() == 1
    [alone] = explain(images[1:], [[3]])
    assert torch.equal(alone[0].map, together[1][0].map)

import captum.attr
import pytest
import torch
from torch import nn

from sess_kernels.backbones import Backbone
from sess_kernels.fuse import min_max
from sess_kernels.saliency.base import Query
from sess_kernels.saliency.integrated_gradients import (
    IntegratedGradients,
    attributions,
    baseline_image,
    gauss_legendre,
)


def _query(images, patch, classes, batch_size=4):
    features = torch.zeros(len(images), 0)
    return Query(images, features, torch.tensor(patch), torch.tensor(classes), batch_size)


@pytest.mark.parametrize(("baseline", "pixel"), [("black", 0), ("white", 255), ("mean", 127)])
def test_parity_with_captum(exact_lite0, plain_lite0, exact_photos, baseline, pixel, agree):
    images, steps = exact_photos[:1], 5
    method = IntegratedGradients(steps=steps, baseline=baseline)
    found = method(exact_lite0, _query(images, [0], [281], steps))
    expected = captum.attr.IntegratedGradients(plain_lite0).attribute(
        images,
        torch.full_like(images, (pixel - 127) / 128),
        281,
        n_steps=steps,
        method="gausslegendre",
    )
    expected = expected.detach().sum(1).abs()
    agree(min_max(found, 112), min_max(expected, 112), 1e-6)


def _completeness_error(backbone, images, class_index, steps):
    """How far the attributions' sum is from the change of the target, relative to the latter."""
    query, black = _query(images, [0], [class_index]), baseline_image(backbone, "black").to(images)
    [found] = attributions(backbone, query, black, gauss_legendre(steps))
    ends = [backbone(at)[1][0, class_index] for at in (images[:1], black.expand_as(images[:1]))]
    return abs(found.sum() / (ends[0] - ends[1]) - 1).item()


def test_attributions_add_up_to_the_change_of_the_target():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 5), nn.GELU(), nn.Conv2d(8, 8, 5), nn.GELU())
    model.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)])
    backbone = Backbone(model, name="smooth", target_layer="3")
    assert _completeness_error(backbone, torch.randn(1, 3, 16, 16), 1, steps=20) < 1e-4


@pytest.mark.slow
def test_more_steps_add_up_better_on_a_network_with_kinks(lite0, photos):
    few, many = (_completeness_error(lite0, photos[:1], 281, steps) for steps in (5, 40))
    assert many < 0.1 < few


def test_batch_mates_do_not_matter(lite0, photos):
    method = IntegratedGradients(steps=3)
    together = method(lite0, _query(photos, [2, 0, 2], [657, 281, 3]))
    for patch, class_index, map_ in zip([2, 0, 2], [657, 281, 3], together, strict=True):
        assert torch.equal(method(lite0, _query(photos, [patch], [class_index]))[0], map_)


def test_the_baseline_itself_gives_zeros(lite0):
    black = baseline_image(lite0, "black").expand(1, 3, 224, 224)
    found = IntegratedGradients(steps=2)(lite0, _query(black, [0], [281]))
    assert torch.equal(found, torch.zeros(1, 224, 224))


def test_no_gradient_gives_zeros():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model[0].bias.data.fill_(-1e3)  # every feature is dead
    model.append(nn.Linear(4, 5))
    backbone = Backbone(model, name="dead", target_layer="1")
    found = IntegratedGradients(steps=3)(backbone, _query(torch.rand(1, 3, 16, 16), [0], [4]))
    assert torch.equal(found, torch.zeros(1, 16, 16))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be at least 1 but got 0"),
        ({"baseline": "red"}, "baseline must be one of black, white, mean but got 'red'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        IntegratedGradients(**options)

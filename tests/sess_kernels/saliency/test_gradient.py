import captum.attr
import pytest
import torch
from torch import nn

from sess_kernels import load_backbone
from sess_kernels.backbones import Backbone
from sess_kernels.fuse import min_max
from sess_kernels.saliency.base import Query
from sess_kernels.saliency.gradient import Gradient


def _query(images, patch, classes, batch_size=2):
    features = torch.zeros(len(images), 0)
    return Query(images, features, torch.tensor(patch), torch.tensor(classes), batch_size)


def test_parity_with_captum(exact_lite0, plain_lite0, exact_photos, photo_classes, agree):
    images, classes = exact_photos, photo_classes
    found = Gradient().maps(exact_lite0, images, classes)
    expected = captum.attr.Saliency(plain_lite0).attribute(images.clone(), classes).amax(1)
    agree(min_max(found, 112), min_max(expected, 112), 1e-6)


def test_parity_with_captum_for_a_group(lite0, photos, agree):
    cats = [281, 282, 285]
    backbone = load_backbone("lite0").group_classes({"cat": cats})

    def log_probability(images):
        return lite0(images)[1].softmax(1)[:, cats].sum(1).log()

    found = Gradient().maps(backbone, photos[:1], torch.tensor([0]))
    expected = captum.attr.Saliency(log_probability).attribute(photos[:1].clone()).amax(1)
    agree(min_max(found, 224), min_max(expected, 224))


def test_batch_mates_do_not_matter(lite0, photos):
    together = Gradient()(lite0, _query(photos, [2, 0, 2], [657, 281, 3]))
    for patch, class_index, map_ in zip([2, 0, 2], [657, 281, 3], together, strict=True):
        assert torch.equal(Gradient()(lite0, _query(photos, [patch], [class_index]))[0], map_)


def test_no_gradient_gives_zeros():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model[0].bias.data.fill_(-1e3)  # every feature is dead
    model.append(nn.Linear(4, 5))
    backbone = Backbone(model, name="dead", target_layer="1")
    found = Gradient().maps(backbone, torch.rand(2, 3, 16, 16), torch.tensor([0, 4]))
    assert torch.equal(found, torch.zeros(2, 16, 16))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_images_are_finite(lite0, value):
    found = Gradient().maps(lite0, torch.full((1, 3, 224, 224), value), torch.tensor([7]))
    assert found.isfinite().all()


def test_nothing_stays_behind(lite0, photos):
    images = photos[:1].clone()
    with torch.no_grad():
        found = Gradient().maps(lite0, images, torch.tensor([3]))
    assert found.grad_fn is None
    assert not images.requires_grad
    assert all(parameter.grad is None for parameter in lite0.parameters())

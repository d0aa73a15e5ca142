"""What every method of the CAM family keeps to, apart from its formula."""

import warnings

import pytest
import torch
from torch import nn

from sess_kernels import Backbone, load_backbone
from sess_kernels.saliency import METHODS, Query

QUICK = {
    "smooth-gradcam++": {"n_samples": 2},
    "augmented-gradcam": {"n_augmentations": 2, "iterations": 10},
}
NAMES = ["cam", "gradcam++", "layercam", "hirescam", "smooth-gradcam++", "augmented-gradcam"]
NAMES += ["excitation-backprop"]


def _method(name):
    return METHODS[name](**QUICK.get(name, {}))


def _query(backbone, images, patch, classes, batch_size=2):
    with torch.no_grad():
        features = backbone.body(images)
    return Query(images, features, torch.tensor(patch), torch.tensor(classes), batch_size)


@pytest.fixture(scope="module")
def early():
    """lite0 in front of its last convolution, where gradients differ between positions."""
    return load_backbone("lite0", target_layer="blocks.6.0.bn2")


@pytest.mark.parametrize("name", NAMES)
def test_batch_mates_do_not_matter(name, lite0, early, photos):
    backbone = lite0 if name == "cam" else early
    images = photos.contiguous(memory_format=torch.channels_last)
    pairs = [(0, 7), (2, 7), (3, 7), (1, 285), (3, 285)]
    query = _query(backbone, images, *zip(*pairs, strict=True))
    with torch.no_grad():
        together = _method(name)(backbone, query)
        for (patch, index), expected in list(zip(pairs, together, strict=True))[::2]:
            one = query.__class__(
                query.images, query.features, torch.tensor([patch]), torch.tensor([index]), 2
            )
            assert torch.equal(_method(name)(backbone, one)[0], expected)
    assert all(map_.amax() > map_.amin() for map_ in together)
    assert not torch.equal(together[2], together[4])


class _Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 4, 4, stride=4), nn.ReLU()
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.act(self.conv(x)).mean((2, 3)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dead", ["conv", "fc"])
def test_no_evidence_gives_zeros(name, dead):
    torch.manual_seed(0)
    net = _Net()
    backbone = Backbone(net, name="net", target_layer="act")
    for parameter in getattr(net, dead).parameters():  # later, or it has no head to recognise
        parameter.data.zero_()
    images = torch.rand(2, 3, 16, 16)
    query = _query(backbone, images, [0, 1], [1, 4])
    with torch.no_grad():
        assert _method(name)(backbone, query).count_nonzero() == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_image_gives_numbers(name, lite0):
    query = _query(lite0, torch.zeros(1, 3, 224, 224), [0], [7])
    with torch.no_grad():
        assert _method(name)(lite0, query).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_stays_behind(name, lite0, early, photos):
    backbone = lite0 if name == "cam" else early
    images = photos[:1].clone()
    query = _query(backbone, images, [0], [7], batch_size=1)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        found = _method(name)(backbone, query)
    assert found.grad_fn is None
    assert not found.requires_grad
    assert not images.requires_grad
    assert not query.features.requires_grad
    assert torch.equal(images, photos[:1])
    assert torch.equal(query.features, backbone.body(images))
    assert all(p.grad is None and not p.requires_grad for p in backbone.parameters())
    assert not any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
        for module in backbone.modules()
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_group_of_one_class_is_finite_and_follows_its_probability(name, photos):
    backbone = load_backbone("lite0").group_classes({"cat": [281, 282, 285], "boat": [554]})
    query = _query(backbone, photos[:1], [0, 0], [0, 1])
    with torch.no_grad():
        cat, boat = _method(name)(backbone, query)
    assert cat.isfinite().all()
    assert cat.amax() > cat.amin()
    assert not torch.equal(cat, boat)

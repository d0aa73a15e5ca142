import numpy as np
import pytest
import saliency.core as pair
import torch
from torch import nn

from sess_kernels.backbones import Backbone
from sess_kernels.fuse import min_max
from sess_kernels.saliency.base import Query
from sess_kernels.saliency.gradient import Gradient
from sess_kernels.saliency.noise import gaussian_noise
from sess_kernels.saliency.smoothgrad import SmoothGrad


def _query(images, patch, classes, batch_size=4):
    features = torch.zeros(len(images), 0)
    return Query(images, features, torch.tensor(patch), torch.tensor(classes), batch_size)


def _pair_smoothgrad(model, image, class_index, noise, monkeypatch):
    """SmoothGrad of PAIR's package, of which only the random numbers are ours."""
    drawn = iter(noise.numpy())
    monkeypatch.setattr(np.random, "normal", lambda mean, sigma, shape: sigma * next(drawn))

    def gradients(images, call_model_args, expected_keys):
        leaf = torch.tensor(images, requires_grad=True)
        [gradient] = torch.autograd.grad(model(leaf)[:, class_index].sum(), leaf)
        return {pair.INPUT_OUTPUT_GRADIENTS: gradient.numpy()}

    method = pair.GradientSaliency()
    found = method.GetSmoothedMask(
        image.numpy(), gradients, nsamples=len(noise), stdev_spread=0.15, magnitude=False
    )
    return torch.tensor(found).abs().amax(0)


def test_parity_with_pair(exact_lite0, plain_lite0, exact_photos, monkeypatch, agree):
    images, n = exact_photos, 3
    found = SmoothGrad(n_samples=n, seed=1)(exact_lite0, _query(images, [0], [281], n))
    noise = torch.stack(gaussian_noise(n, (3, 112, 112), seed=1)).double()
    expected = _pair_smoothgrad(plain_lite0, images[0], 281, noise, monkeypatch)[None]
    agree(min_max(found, 112), min_max(expected, 112), 1e-6)


def test_batch_mates_do_not_matter(lite0, photos):
    method = SmoothGrad(n_samples=3)  # no divisor of the batch size
    together = method(lite0, _query(photos, [2, 0, 2], [657, 281, 3]))
    for patch, class_index, map_ in zip([2, 0, 2], [657, 281, 3], together, strict=True):
        assert torch.equal(method(lite0, _query(photos, [patch], [class_index]))[0], map_)


def test_without_noise_it_is_the_gradient(lite0, photos):
    found = SmoothGrad(n_samples=2, noise_level=0)(lite0, _query(photos, [0], [281], batch_size=2))
    plain = Gradient()(lite0, _query(photos, [0], [281], batch_size=2))
    torch.testing.assert_close(found, plain, rtol=1e-6, atol=0)


def test_the_seed_sets_the_noise(lite0, photos):
    query = _query(photos, [0], [281])
    maps = [SmoothGrad(n_samples=2, seed=seed)(lite0, query) for seed in (0, 0, 1)]
    assert torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])


def test_no_gradient_gives_zeros():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model[0].bias.data.fill_(-1e3)  # every feature is dead
    model.append(nn.Linear(4, 5))
    backbone = Backbone(model, name="dead", target_layer="1")
    images = torch.stack([torch.rand(3, 16, 16), torch.zeros(3, 16, 16)])
    found = SmoothGrad(n_samples=3)(backbone, _query(images, [0, 1], [0, 4]))
    assert torch.equal(found, torch.zeros(2, 16, 16))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, "n_samples must be at least 1 but got 0"),
        ({"noise_level": -1}, "noise_level must be at least 0 but got -1"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        SmoothGrad(**options)

import pytest
import torch
from torchcam.methods import SmoothGradCAMpp

from sess_kernels import load_backbone
from sess_kernels.fuse import min_max
from sess_kernels.saliency import Query
from sess_kernels.saliency.gradcam_pp import GradCAMPlusPlus
from sess_kernels.saliency.noise import gaussian_noise
from sess_kernels.saliency.smooth_gradcam_pp import SmoothGradCAMPlusPlus

N, LEVEL, SEED = 3, 0.15, 5
CATS = [281, 282, 283, 284, 285]


def _maps(backbone, images, classes, **options):
    patch = torch.arange(len(images))
    query = Query(images, backbone.body(images), patch, classes, batch_size=2)
    with torch.no_grad():
        return SmoothGradCAMPlusPlus(N, LEVEL, SEED, **options)(backbone, query)


def _copies(images):
    span = images.amax((1, 2, 3)) - images.amin((1, 2, 3))
    noise = gaussian_noise(N, tuple(images.shape[1:]), SEED)
    return [images + LEVEL * span[:, None, None, None] * one for one in noise]


class _MeanAtLast(list):
    """The gradients of the last copy, but their mean over the copies when read the third time."""

    def __init__(self, last, mean):
        super().__init__([last])
        self.mean, self.reads = mean, 0

    def __iter__(self):
        self.reads += 1
        return iter([self.mean]) if self.reads == 3 else super().__iter__()


class _AsInThePaper(SmoothGradCAMpp):
    """With the same noise, and without what torchcam takes from the last copy alone.

    That is the gradient under the ReLU, here its mean, and the features, here the image's own.
    """

    def set_noise(self, images):
        self.noise = iter([copy - images for copy in _copies(images)])
        self._distrib = self
        self.seen = []

    def _get_weights(self, *args, **kwargs):
        own = list(self.hook_a)
        weights = super()._get_weights(*args, **kwargs)
        self.hook_a = own
        return weights

    def sample(self, size):
        return next(self.noise)

    def _backprop(self, *args, **kwargs):
        super()._backprop(*args, **kwargs)
        self.seen.append(self.hook_g[0])
        if len(self.seen) == self.num_samples:
            self.hook_g = _MeanAtLast(self.seen[-1], torch.stack(self.seen).mean(0))


def _torchcam(model, images, **targets):
    with _AsInThePaper(model, "bn2", num_samples=N) as reference:
        model(images.clone())
        reference.set_noise(images)
        [maps] = reference(normalized=False, eps=1e-30, **targets)
    return maps


def test_parity_with_torchcam(lite0, plain_lite0, photos, photo_classes, agree):
    found = _maps(lite0, photos, photo_classes)
    expected = _torchcam(plain_lite0, photos, class_idx=photo_classes.tolist())
    agree(min_max(found, 224), min_max(expected, 224))
    plain = GradCAMPlusPlus().maps(lite0, lite0.body(photos), photo_classes)
    assert torch.equal(found, plain)  # no noise reaches this gradient


def test_parity_with_torchcam_for_a_group(plain_lite0, photos, agree):
    backbone = load_backbone("lite0").group_classes({"cat": CATS})
    images = photos[:2]
    found = _maps(backbone, images, torch.tensor([0, 0]))
    expected = _torchcam(
        plain_lite0, images, targets=lambda out: out[CATS].logsumexp(0) - out.logsumexp(0)
    )
    agree(min_max(found, 224), min_max(expected, 224))
    plain = GradCAMPlusPlus().maps(backbone, backbone.body(images), torch.tensor([0, 0]))
    assert (min_max(plain, 224) - min_max(found, 224)).abs().max() > 1e-3  # the noise does matter


def test_parity_with_the_formulas_at_an_earlier_layer(plain_lite0, photos, photo_classes, agree):
    # torchcam takes sum(g^3 A) for g^3 sum(A), which differs where g differs between positions
    layer, images, classes = "blocks.6.0.bn2", photos[:2], photo_classes[:2]
    found = _maps(load_backbone("lite0", target_layer=layer), images, classes)
    kept = []
    handle = plain_lite0.get_submodule(layer).register_forward_hook(lambda m, i, o: kept.append(o))
    gradients = []
    for copy in _copies(images):
        logits = plain_lite0(copy.requires_grad_())
        chosen = logits[0, classes[0]] + logits[1, classes[1]]
        gradients.append(torch.autograd.grad(chosen, kept[-1])[0].double())
    plain_lite0(images)
    handle.remove()
    a = kept[-1].detach().double()
    first = sum(gradients) / N
    second, third = sum(g**2 for g in gradients) / N, sum(g**3 for g in gradients) / N
    alpha = second / (2 * second + third * a.sum((2, 3), keepdim=True))
    weight = (alpha.nan_to_num(0) * first.relu()).sum((2, 3))
    expected = torch.einsum("nc,nchw->nhw", weight, a).relu().float()
    agree(min_max(found, 224), min_max(expected, 224))


def test_no_noise_is_gradcam_plus_plus(photos, photo_classes):
    backbone = load_backbone("lite0", target_layer="blocks.6.0.bn2")
    images, classes = photos[:1], photo_classes[:1]
    query = Query(images, backbone.body(images), torch.tensor([0]), classes, 1)
    with torch.no_grad():
        found = SmoothGradCAMPlusPlus(n_samples=2, noise_level=0)(backbone, query)
        expected = GradCAMPlusPlus()(backbone, query)
    torch.testing.assert_close(min_max(found, 224), min_max(expected, 224), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, "n_samples must be at least 1 but got 0"),
        ({"noise_level": -0.1}, "noise_level must be at least 0 but got -0.1"),
        ({"noise_level": float("nan")}, "noise_level must be at least 0 but got nan"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        SmoothGradCAMPlusPlus(**options)

"""Maps of other settings from stored patches: the bits of a run with those settings."""

import numpy as np
import pytest
import torch
from skimage.data import chelsea

from sess_kernels import SESS, SESSConfig, fuse_patches
from sess_kernels.metrics import pointing_hit

CAT = 285


@pytest.fixture(scope="module")
def cat(lite0):
    [[found]] = SESS(lite0, config=SESSConfig(scales=4))([chelsea()], [[CAT]], keep_patches=True)
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {"scales": 1},
        {"scales": 3, "pre_filter_ratio": 0.5},
        {"scales": 4, "pre_filter_ratio": 0.99},
        {"scales": 4, "theta": 0.2},
        {"scales": 2, "channel_weights": "none"},
        {"scales": 4, "channel_weights": "relative", "normalize": False},
        {"scales": 4, "fusion": "max", "smooth": True},
    ],
    ids=str,
)
def test_a_variant_has_the_bits_of_a_run_with_its_settings(lite0, cat, changes):
    config = SESSConfig(**changes)
    [[alone]] = SESS(lite0, config=config)([chelsea()], [[CAT]])
    assert torch.equal(fuse_patches(cat.patches, (300, 451), config), alone.map)


def test_patches_may_come_in_any_order(cat):
    config = SESSConfig(scales=3, pre_filter_ratio=0.3)
    shuffled = [cat.patches[i] for i in np.random.default_rng(0).permutation(len(cat.patches))]
    one, other = (fuse_patches(some, (300, 451), config) for some in (cat.patches, shuffled))
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scales": 5}, "5 scales"),
        ({"scales": 0}, "0 scales"),
        ({"scales": 2, "step_size": 112}, "same windows"),
        ({"scales": 2, "window_size": 112}, "windows of 112 pixels"),
    ],
)
def test_patches_that_do_not_serve_are_refused(cat, changes, said):
    with pytest.raises(ValueError, match=said):
        fuse_patches(cat.patches, (300, 451), SESSConfig(**changes))


def test_no_patches_and_filtered_ones_are_refused(cat):
    with pytest.raises(ValueError, match="got none"):
        fuse_patches([], (300, 451), SESSConfig(scales=2))
    with pytest.raises(ValueError, match="pre_filter_ratio 0"):
        fuse_patches(cat.patches[:3], (300, 451), SESSConfig(scales=4))


def test_scales_0_is_the_base_method_alone(lite0):
    """Grad-CAM of the squeezed image, enlarged in two steps as a patch's map is."""
    image = torch.from_numpy(chelsea()).permute(2, 0, 1)
    explain = SESS(lite0, config=SESSConfig(scales=0))
    [[found]] = explain([chelsea()], [[CAT]], keep_patches=True)
    assert (found.n_kept, len(found.patches)) == (1, 1)
    size = (lite0.input_size,) * 2
    squeezed = torch.nn.functional.interpolate(
        lite0.normalize(image)[None], size, mode="bilinear", antialias=True
    ).requires_grad_()
    with torch.enable_grad():
        features = lite0.body(squeezed)
        logit = lite0.head(features)[0, CAT]
        [gradient] = torch.autograd.grad(logit, features)
    cam = (features * gradient.mean((2, 3), keepdim=True)).sum(1, keepdim=True).relu().detach()
    for side in (size, (300, 451)):
        cam = torch.nn.functional.interpolate(cam, side, mode="bilinear")
    expected = (cam[0, 0] - cam.min()) / (cam.max() - cam.min())
    assert torch.allclose(found.map, expected, atol=2e-3)
    assert pointing_hit(found.map, torch.tensor([[100.0, 0.0, 350.0, 300.0]]))


def test_scales_0_equals_one_scale_on_a_square_image(lite0):
    square = chelsea()[:, :300]
    zero, one = (SESS(lite0, config=SESSConfig(scales=n))([square], [[CAT]]) for n in (0, 1))
    assert torch.equal(zero[0][0].map, one[0][0].map)
    assert zero[0][0].score == one[0][0].score

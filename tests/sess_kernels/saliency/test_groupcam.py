"""Group-CAM; its parity with the published program is in ``test_golden.py``."""

import pytest
import torch
from torchvision.transforms.functional import gaussian_blur

from sess_kernels import load_backbone
from sess_kernels.saliency import Query
from sess_kernels.saliency.groupcam import GroupCAM
from sess_kernels.saliency.masking import blur_matrix


def _query(backbone, images, pairs, batch_size=4):
    patch, classes = torch.tensor(pairs).T
    return Query(images, backbone.body(images), patch, classes, batch_size)


@pytest.mark.parametrize("percentile", [0, 70])
def test_a_map_does_not_depend_on_its_neighbours(lite0, photos, percentile):
    method, pairs = GroupCAM(n_groups=3, percentile=percentile), [(0, 281), (1, 967), (0, 3)]
    with torch.no_grad():
        together = method(lite0, _query(lite0, photos, pairs))
        alone = [method(lite0, _query(lite0, photos, [pair]))[0] for pair in pairs]
    assert together.amax((1, 2)).gt(0).all()
    for map_, other in zip(together, alone, strict=True):
        assert torch.equal(map_, other)


def test_forwards_are_full_batches_and_classes_share_the_blurred_image(lite0, photos):
    seen = []
    handle = lite0.head.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    try:
        query = _query(lite0, photos, [(0, 281), (1, 967), (0, 3)])
        GroupCAM(n_groups=3)(lite0, query)
    finally:
        handle.remove()
    assert seen == [4] * 4  # 3 pairs of 3 groups and then 2 blurred images


def test_two_groups_by_hand(lite0, photos):
    image = photos[:1]
    blurred = gaussian_blur(image, 51, 50.0)
    features = lite0.body(image)
    weighted = features * lite0.pooled_weight[281][:, None, None] / 49
    expected = torch.zeros(7, 7)
    for part in weighted[0].split(640):
        map_ = part.sum(0).relu()
        large = torch.nn.functional.interpolate(map_[None, None], (224, 224), mode="bilinear")
        mask = (large - large.min()) / (large.max() - large.min())
        both = torch.cat([mask * image + (1 - mask) * blurred, blurred])
        masked, ground = lite0(both)[1].softmax(1)[:, 281]
        expected += (masked - ground).relu() * map_
    found = GroupCAM(n_groups=2)(lite0, _query(lite0, photos, [(0, 281)]))[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_blur_is_that_of_torchvision(photos):
    matrix = blur_matrix(224, 50.0, 25, mirrored=True)
    found = matrix @ photos @ matrix.T
    torch.testing.assert_close(found, gaussian_blur(photos, 51, 50.0), rtol=0, atol=1e-5)


def test_percentile_removes_the_low_values(lite0, photos):
    query = _query(lite0, photos, [(0, 281)])
    kept = GroupCAM(percentile=70)._groups(lite0, query, *next(query.batches()))[0]
    full = GroupCAM()._groups(lite0, query, *next(query.batches()))[0]
    assert torch.equal(kept, torch.where(full >= full.quantile(0.7), full, 0))
    assert (kept > 0).sum() == 471  # of 32 groups of 7x7, 1568
    assert (full > 0).sum() > 700


@pytest.mark.parametrize("percentile", [0, 70])
def test_no_evidence_gives_zeros(lite0, photos, percentile):
    images, features = torch.zeros_like(photos), torch.zeros(4, 1280, 7, 7)
    query = Query(images, features, torch.arange(4), torch.arange(4), 4)
    assert torch.equal(
        GroupCAM(n_groups=2, percentile=percentile)(lite0, query), torch.zeros(4, 7, 7)
    )


def test_fewer_channels_than_groups(photos):
    backbone = load_backbone("lite0", target_layer="blocks.0.0")
    with torch.no_grad():
        query = _query(backbone, photos[:1], [(0, 281)])
        assert GroupCAM()._groups(backbone, query, *next(query.batches())).shape[1] == 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_groups": 0}, "n_groups must be at least 1 but got 0"),
        ({"percentile": 100}, r"percentile must be in \[0, 100\) but got 100"),
        ({"kernel_size": 50}, "kernel_size must be odd and positive but got 50"),
        ({"sigma": 0}, "sigma must be above 0 but got 0"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        GroupCAM(**options)


def test_nothing_stays_behind(lite0, photos):
    with torch.no_grad():
        map_ = GroupCAM(n_groups=2)(lite0, _query(lite0, photos, [(0, 281)]))
    assert map_.grad_fn is None
    assert all(parameter.grad is None for parameter in lite0.parameters())
    assert not any(module._forward_hooks for module in lite0.modules())

import pytest
import torch
from torch import nn

from sess_kernels.backbones import Backbone, Preprocessing
from sess_kernels.fuse import rescale
from sess_kernels.saliency import Query
from sess_kernels.saliency.extremal_perturbation import ExtremalPerturbation

_AREAS = (0.1, 0.3)


def _query(images, pairs, batch_size=4):
    patch, classes = torch.tensor(pairs).T
    return Query(images, torch.zeros(len(images), 0), patch, classes, batch_size)


def _reference(model, image, index, iterations):
    torchray = pytest.importorskip("torchray.attribution.extremal_perturbation")
    masks, _ = torchray.extremal_perturbation(
        model, image, index, areas=list(_AREAS), max_iter=iterations, smooth=0.09
    )
    return masks[:, 0].sum(0)


@pytest.mark.slow
def test_parity_with_torchray(lite0, plain_lite0, photos, monkeypatch, agree):
    # All cells start alike, so that 75 of the pixels have the very value at the border of the area.
    # Which of them lie inside depends on how equals are sorted; TorchRay leaves that open.
    sort = torch.Tensor.sort
    stable = {"stable": True}
    monkeypatch.setattr(torch.Tensor, "sort", lambda x, **how: sort(x, **(how | stable)))
    expected = _reference(plain_lite0, photos[1:2], 967, 5)
    with torch.no_grad():
        method = ExtremalPerturbation(areas=_AREAS, iterations=5)
        [found] = method(lite0, _query(photos, [(1, 967)], batch_size=2))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    agree(rescale(found), rescale(expected))


@pytest.mark.slow
def test_parity_with_torchray_as_it_is(lite0, plain_lite0, photos, agree):
    expected = _reference(plain_lite0, photos[:1], 281, 10)
    with torch.no_grad():
        method = ExtremalPerturbation(areas=_AREAS, iterations=10)
        [found] = method(lite0, _query(photos, [(0, 281)], batch_size=2))
    agree(rescale(found), rescale(expected), 1e-3)  # equals are sorted in another way, see above


class _Corner(nn.Module):
    """Looks at the upper left corner for class 0, and at nothing for class 1."""

    def __init__(self):
        super().__init__()
        self.features = nn.Identity()

    def forward(self, x):
        seen = self.features(x)[:, :, :16, :16].mean((1, 2, 3))
        return torch.stack([100 * seen, 0 * seen], dim=1)


@pytest.fixture(scope="module")
def corner():
    return Backbone(
        _Corner(), name="corner", target_layer="features", preprocessing=Preprocessing(48)
    )


def test_the_mask_finds_what_the_class_is_about(corner):
    noise = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(0)) + 1
    method = ExtremalPerturbation(areas=(0.15,), iterations=60, sigma=7.0, step=4, smooth=0.0)
    with torch.no_grad():
        [map_] = method(corner, _query(noise, [(0, 0)], batch_size=1))
    inside = map_[:16, :16].mean()
    assert inside > 0.8
    assert map_[28:, 28:].mean() < 0.2


@pytest.mark.slow
def test_a_map_does_not_depend_on_its_neighbours(lite0, photos):
    method, pairs = ExtremalPerturbation(areas=[0.1], iterations=2), [(0, 281), (1, 967), (0, 3)]
    with torch.no_grad():
        together = method(lite0, _query(photos, pairs, batch_size=2))
        alone = [method(lite0, _query(photos, [pair], batch_size=2))[0] for pair in pairs]
    for map_, other in zip(together, alone, strict=True):
        assert torch.equal(map_, other)
    assert not torch.equal(together[0], together[2])


def test_no_evidence_gives_zeros(corner):
    images = torch.ones(1, 3, 48, 48)
    method = ExtremalPerturbation(areas=(0.2,), iterations=3)
    with torch.no_grad():
        pairs = [(0, 0), (0, 1)]
        seen, unseen = method(corner, _query(images, pairs))
        dark = method(corner, _query(0 * images, pairs))
    assert seen.max() > seen.min() > 0
    assert torch.equal(unseen, torch.zeros(48, 48))
    assert dark.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"areas": [0.5, 1.0]}, r"areas must be between 0 and 1 but got \[0\.5, 1\.0\]"),
        ({"areas": []}, r"areas must be between 0 and 1 but got \[\]"),
        ({"iterations": 0}, "iterations must be at least 1 but got 0"),
        ({"levels": 1}, "levels must be at least 2 but got 1"),
        ({"sigma": 0}, "sigma must be above 0 but got 0"),
        ({"smooth": -1}, "smooth must be at least 0 but got -1"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        ExtremalPerturbation(**options)


def test_nothing_stays_behind(lite0, photos):
    with torch.no_grad():
        method = ExtremalPerturbation(areas=[0.1], iterations=1)
        map_ = method(lite0, _query(photos, [(0, 281)], batch_size=1))
    assert not map_.requires_grad
    assert all(parameter.grad is None for parameter in lite0.parameters())
    assert not any(module._forward_hooks for module in lite0.modules())

"""Pseudo-masks beside numpy, and refinements at a reduced size."""

import builtins

import numpy as np
import pytest
import torch

from sess_kernels import ConfigError, SessError
from sess_kernels.pseudo import MaskConfig, pamr, pseudo_mask
from sess_kernels.pseudo.crf import dense_crf


@pytest.mark.parametrize("ignore", [None, (0.2, 0.5), (0.0, 0.1), (0.9, 1.0)])
def test_equals_numpy(ignore, device):
    maps = np.random.default_rng(0).random((3, 20, 30)).astype(np.float32)
    config = MaskConfig(background=0.6, ignore=ignore, normalize=False)
    found = pseudo_mask(torch.from_numpy(maps).to(device), [4, 0, 253], config)
    best = maps.max(0)
    expected = np.where(best > 0.6, np.array([5, 1, 254])[maps.argmax(0)], 0)
    if ignore:
        expected[(best >= ignore[0]) & (best < ignore[1])] = 255
    assert found.dtype == torch.uint8
    assert found.device.type == device
    assert (found.cpu().numpy() == expected).all()


def test_normalized_maps_are_compared_by_their_own_maximum():
    maps = torch.tensor([[[0.2, 0.06, 0.0]], [[0.3, 0.9, 0.0]], [[0.0, 0.0, 0.0]]])
    assert pseudo_mask(maps, [0, 1, 2]).tolist() == [[1, 2, 0]]
    assert pseudo_mask(maps, [0, 1, 2], MaskConfig(normalize=False)).tolist() == [[2, 2, 0]]


def test_an_image_without_classes_is_background():
    assert pseudo_mask(torch.zeros(0, 2, 3), []).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_refinement_follows_the_photograph(device):
    image = torch.zeros(3, 40, 60, dtype=torch.uint8, device=device)
    image[:, 10:30, 20:40] = 220
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(60), indexing="ij")
    bump = torch.exp(-((rows - 20) ** 2 + (columns - 27) ** 2) / 250.0)[None].to(device)
    true = (image[0] > 0).int()
    errors = [
        (pseudo_mask(bump, [0], MaskConfig(refine=name), image) != true).sum().item()
        for name in ("none", "pamr")
    ]
    assert errors[0] > 100
    assert errors[1] < 20


def test_refinement_at_full_size_is_that_of_the_function(draw):
    image = torch.from_numpy(draw(30, 44).copy()).permute(2, 0, 1)
    maps = torch.rand(2, 30, 44)
    config = MaskConfig(
        refine="pamr", refine_side=44, iterations=4, dilations=(1, 3), normalize=False
    )
    refined = pamr(image, maps, 4, (1, 3))
    expected = pseudo_mask(refined, [1, 2], MaskConfig(normalize=False))
    assert pseudo_mask(maps, [1, 2], config, image).equal(expected)


def test_a_large_image_is_refined_as_its_reduced_one(chelsea):
    image = torch.from_numpy(chelsea.copy()).permute(2, 0, 1)
    small = torch.zeros(1, 75, 113)
    small[0, 20:60, 30:90] = 1
    grow = torch.nn.Upsample(size=image.shape[1:], mode="bilinear")
    config = MaskConfig(refine="pamr", refine_side=113, iterations=5)
    large = pseudo_mask(grow(small[None])[0], [0], config, image)
    reduced = torch.nn.functional.interpolate(
        image[None].float(), (75, 113), mode="bilinear", antialias=True
    )[0]
    expected = pseudo_mask(small, [0], config, reduced.byte())
    at_centres = large[1::4, 1::4][:75, :113]
    assert (at_centres == expected).float().mean() > 0.97


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"background": 1.0}, r"background must be a number in \[0, 1\) but got 1.0"),
        ({"ignore": (0.5, 0.2)}, "the lower one first"),
        ({"ignore": (0.5,)}, "ignore must be two numbers"),
        ({"ignore": (0.5, 2)}, "ignore must be two numbers"),
        ({"refine": "pmr"}, "did you mean 'pamr'"),
        ({"iterations": 0}, "iterations must be whole numbers of at least 1 but got 0"),
        ({"refine_side": 0.5}, "refine_side must be"),
        ({"dilations": ()}, "dilations must be"),
        ({"refine": "crf", "background": 0.0}, "crf needs a background above 0"),
    ],
)
def test_faults_of_a_configuration_are_told(given, said):
    with pytest.raises(ConfigError, match=said):
        MaskConfig(**given)


@pytest.mark.parametrize(
    ("shape", "classes", "image", "said"),
    [
        ((2, 4, 5), [1], None, "one for each of 1 classes"),
        ((4, 5), [1], None, r"Expected maps \(K, H, W\)"),
        ((1, 4, 5), [254], None, "Expected classes from 0 to 253"),
        ((1, 4, 5), [-1], None, "Expected classes from 0 to 253"),
        ((1, 4, 5), [1], (3, 5, 4), r"maps' size \(4, 5\) for refine pamr but got \(3, 5, 4\)"),
        ((1, 4, 5), [1], None, "for refine pamr but got none"),
    ],
)
def test_what_does_not_go_together_is_refused(shape, classes, image, said):
    image = None if image is None else torch.zeros(image)
    with pytest.raises(ValueError, match=said):
        pseudo_mask(torch.ones(shape), classes, MaskConfig(refine="pamr"), image)


def test_without_the_package_crf_says_what_to_install(monkeypatch):
    find = builtins.__import__

    def without(name, *rest):
        if name.startswith("pydensecrf"):
            raise ImportError(name)
        return find(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SessError, match=r"sess-pipeline\[crf\]"):
        pseudo_mask(torch.ones(1, 4, 4), [0], MaskConfig(refine="crf"), torch.zeros(3, 4, 4))


def test_dense_crf_follows_the_photograph():
    pytest.importorskip("pydensecrf")
    image = torch.zeros(3, 40, 60)
    image[:, 10:30, 20:40] = 220
    maps = torch.full((2, 40, 60), 0.02)
    maps[0, 8:28, 20:36] = 0.9
    maps[1, 20:22, 37:39] = 0.3  # a speck
    found = dense_crf(image, maps, 0.25)
    assert ((found[0] > 0.25) == (image[0] > 0)).float().mean() > 0.99
    assert found[1].max() < 0.25  # though it is likelier than background beside the other
    assert 0 <= found.min() <= found.max() <= 1

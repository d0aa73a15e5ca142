"""Pixel-adaptive refinement beside a loop over pixels."""

import numpy as np
import pytest
import torch

from sess_kernels.pseudo import pamr


def _slow(image, maps, iterations, dilations, sigma):
    """The paper's formula, a pixel and a neighbour at a time, in float64."""
    height, width = image.shape[1:]
    image = image.astype(float)

    def at(row, column):
        return min(max(row, 0), height - 1), min(max(column, 0), width - 1)

    steps = [(d * i, d * j) for d in dilations for i in (-1, 0, 1) for j in (-1, 0, 1)]
    weights = {}
    for row in range(height):
        for column in range(width):
            seen = np.array([image[:, *at(row + i, column + j)] for i, j in steps])
            spread = sigma * seen.std(0, ddof=1) + 1e-8
            away = [step for step in steps if step != (0, 0)]
            likeness = np.array(
                [
                    -np.mean(
                        np.abs(image[:, row, column] - image[:, *at(row + i, column + j)]) / spread
                    )
                    for i, j in away
                ]
            )
            share = np.exp(likeness - likeness.max())
            places = [at(row + i, column + j) for i, j in away]
            weights[row, column] = list(zip(share / share.sum(), places, strict=True))
    for _ in range(iterations):
        found = np.zeros_like(maps, float)
        for (row, column), shares in weights.items():
            found[:, row, column] = sum(share * maps[:, *place] for share, place in shares)
        maps = found
    return maps


@pytest.mark.parametrize("dilations", [(1,), (1, 2, 4), (3, 9)])
@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_equals_the_loop(dilations, sigma, agree, draw, device):
    image = np.moveaxis(draw(7, 9), 2, 0).copy()
    maps = np.random.default_rng(1).random((2, 7, 9)).astype(np.float32)
    found = pamr(
        torch.from_numpy(image).to(device),
        torch.from_numpy(maps).to(device),
        iterations=3,
        dilations=dilations,
        sigma=sigma,
    )
    assert found.dtype == torch.float32
    assert found.device.type == device
    agree(found.cpu().double(), _slow(image, maps, 3, dilations, sigma), 1e-5)


def test_the_range_of_the_image_makes_no_difference(chelsea, agree):
    image = torch.from_numpy(chelsea[::4, ::4].copy()).permute(2, 0, 1)
    maps = torch.rand(2, *image.shape[1:])
    expected = pamr(image, maps)
    agree(pamr(image.float() / 255, maps), expected)
    agree(pamr(image.float() / 127.5 - 1, maps), expected)


def test_maps_move_to_the_edge_and_stay_within_their_values():
    image = torch.zeros(3, 30, 40)
    image[:, :, 20:] = 200
    maps = torch.zeros(1, 30, 40)
    maps[0, :, 17:] = 0.9  # three columns too many
    found = pamr(image, maps, dilations=(1, 2, 4))
    assert ((found[0] > 0.45) == (image[0] > 0)).all()
    assert 0 <= found.min() <= found.max() <= 0.9 + 1e-6


def test_a_flat_image_blurs_and_a_flat_map_stays(agree):
    flat = torch.full((3, 12, 12), 77, dtype=torch.uint8)
    maps = torch.zeros(1, 12, 12)
    maps[0, 6, 6] = 1
    found = pamr(flat, maps, iterations=1, dilations=(1, 2))
    assert (found > 0).sum() == 16
    assert found.max().item() == pytest.approx(1 / 16)
    agree(pamr(flat, torch.full((1, 12, 12), 0.3)), torch.full((1, 12, 12), 0.3), 1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3)])
def test_images_smaller_than_the_distances(size):
    found = pamr(torch.rand(3, *size), torch.ones(1, *size))
    assert found.allclose(torch.ones(1, *size))


def test_no_maps_and_no_iterations():
    assert pamr(torch.zeros(3, 4, 5), torch.zeros(0, 4, 5)).shape == (0, 4, 5)
    maps = torch.rand(1, 4, 5)
    assert pamr(torch.zeros(3, 4, 5), maps, iterations=0).equal(maps)


@pytest.mark.parametrize(
    ("image", "given", "said"),
    [
        ((3, 4, 4), {}, r"of its size but got \(3, 4, 4\) and \(1, 4, 5\)"),
        ((1, 4, 5), {}, r"Expected an image \(3, H, W\)"),
        ((3, 4, 5), {"dilations": ()}, "dilations of at least 1"),
        ((3, 4, 5), {"dilations": (0,)}, "dilations of at least 1"),
        ((3, 4, 5), {"iterations": -1}, "iterations of at least 0"),
        ((3, 4, 5), {"sigma": 0.0}, "sigma above 0"),
    ],
)
def test_what_does_not_go_together_is_refused(image, given, said):
    with pytest.raises(ValueError, match=said):
        pamr(torch.zeros(image), torch.zeros(1, 4, 5), **given)

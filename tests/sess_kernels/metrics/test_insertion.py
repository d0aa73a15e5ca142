"""Insertion and deletion beside a plain loop, a pixel and an image at a time."""

import math
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.transform import resize
from sklearn.metrics import auc

from sess_kernels.metrics import (
    CurveSettings,
    MapQuery,
    insertion_deletion,
    score_curves,
)

SIDE = 32


def _plain(
    backbone, image, saliency, class_index, *, share=0.036, start="blur", baseline="zero", side=51
):
    """Scores of one frame after the other; all squeezed by Pillow, blurred by OpenCV."""
    size, known = backbone.input_size, backbone.preprocessing
    whole = ((image / 255 - known.mean) / known.std).astype(np.float32)
    whole = np.stack([_squeezed(whole[..., channel], size) for channel in range(3)], axis=-1)
    empty = {
        "blur": cv2.GaussianBlur(whole, (side, side), 50, borderType=cv2.BORDER_REFLECT_101),
        "zero": np.zeros_like(whole),
        "mean": np.broadcast_to(whole.reshape(-1, 3).mean(0), whole.shape),
        "black": np.broadcast_to(-np.array(known.mean) / known.std, whole.shape),
    }
    values = _squeezed(np.asarray(saliency, np.float32), size)
    order = sorted(range(size * size), key=lambda pixel: -values.flat[pixel])
    step = round(share * size * size)
    curves = []
    for before, after in ((empty[start], whole), (whole, empty[baseline])):
        now, curve = before.astype(np.float32), []
        for number in range(math.ceil(size * size / step) + 1):
            with torch.no_grad():
                patch = torch.from_numpy(now.copy()).permute(2, 0, 1)[None]
                curve.append(backbone(patch)[1].softmax(1)[0, class_index].item())
            for pixel in order[number * step : (number + 1) * step]:
                row, column = divmod(pixel, size)
                now[row, column] = after[row, column]
        curves.append(curve)
    return curves


def _squeezed(plane, size):
    if plane.shape == (size, size):
        return plane
    return np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR))


def _areas(curves):
    return [auc(np.linspace(0, 1, len(curve)), curve) for curve in curves]


def _square(chelsea, size):
    image = resize(chelsea, (size, size), preserve_range=True).astype(np.uint8)
    row, column = np.mgrid[:size, :size]
    return image, np.exp(-((row - 90) ** 2 + (column - 110) ** 2) / 4000).astype(np.float32)


def _random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def _photo(*size, seed=0):
    return (_random(*size, 3, seed=seed) * 256).byte().numpy()


MAPS = {
    "random": _random(SIDE, SIDE),
    "with ties": (_random(SIDE, SIDE, seed=1) * 4).floor(),
    "constant": torch.full((SIDE, SIDE), 0.5),
    "all zero": torch.zeros(SIDE, SIDE),
    "negative": -_random(SIDE, SIDE, seed=2),
}


@pytest.mark.parametrize("share", [0.036, 0.25, 0.3, 1.0])
@pytest.mark.parametrize("kind", MAPS)
def test_curves_are_those_of_a_plain_loop(tiny, kind, share):
    image = _photo(SIDE, SIDE)
    expected = _plain(tiny, image, MAPS[kind], 2, share=share)
    [found] = score_curves(tiny, [MapQuery(image, MAPS[kind], 2)], CurveSettings(share=share))
    assert found.insertion.tolist() == pytest.approx(expected[0], abs=1e-5)
    assert found.deletion.tolist() == pytest.approx(expected[1], abs=1e-5)
    assert found.areas == pytest.approx(_areas(expected), abs=1e-5)
    assert found.areas.overall == found.areas.insertion - found.areas.deletion
    assert len(found.moved) == len(expected[0])
    assert found.insertion[-1] == found.deletion[0]  # the image itself


@pytest.mark.parametrize(("height", "width"), [(40, 90), (61, 35), (20, 25)])
def test_image_and_map_of_another_shape_are_squeezed(tiny, height, width):
    image, saliency = _photo(height, width), _random(height, width, seed=4)
    expected = _areas(_plain(tiny, image, saliency, 1))
    [found] = insertion_deletion(tiny, [MapQuery(image, saliency, 1)])
    assert found == pytest.approx(expected, abs=1e-5)
    channels_first = torch.from_numpy(image).permute(2, 0, 1)
    assert insertion_deletion(tiny, [MapQuery(channels_first, saliency, 1)]) == [found]
    assert insertion_deletion(tiny, [MapQuery(image, saliency.double(), 1)]) == [found]


@pytest.mark.parametrize("start", ["blur", "zero", "mean", "black"])
@pytest.mark.parametrize("baseline", ["zero", "mean", "black", "blur"])
def test_what_stands_in_place_of_pixels(tiny, start, baseline):
    image, saliency = _photo(SIDE, SIDE), MAPS["random"]
    settings = CurveSettings(share=0.1, start=start, baseline=baseline, blur=(21, 50.0))
    expected = _plain(tiny, image, saliency, 0, share=0.1, start=start, baseline=baseline, side=21)
    [found] = score_curves(tiny, [MapQuery(image, saliency, 0)], settings)
    assert found.insertion.tolist() == pytest.approx(expected[0], abs=1e-5)
    assert found.deletion.tolist() == pytest.approx(expected[1], abs=1e-5)


def test_areas_of_a_trained_network(lite0, chelsea):
    image, saliency = _square(chelsea, 224)
    expected = _areas(_plain(lite0, image, saliency, 285, share=0.2))
    query = MapQuery(image, torch.from_numpy(saliency), 285)
    [found] = insertion_deletion(lite0, [query], CurveSettings(share=0.2))
    assert found == pytest.approx(expected, abs=2e-5)
    assert found.insertion > found.deletion + 0.1


def test_the_last_step_moves_what_is_left_and_counts_once(tiny):
    [found] = score_curves(
        tiny, [MapQuery(_photo(SIDE, SIDE), MAPS["random"], 0)], CurveSettings(share=0.4)
    )
    step = round(0.4 * SIDE**2)
    assert found.moved.tolist() == [0, step / SIDE**2, 2 * step / SIDE**2, 1]
    heights = found.insertion.tolist()
    area = sum((a + b) / 2 for a, b in pairwise(heights)) / 3
    assert found.areas.insertion == pytest.approx(area, abs=1e-12)
    assert len(CurveSettings().moved(224 * 224)) == 29


def test_of_equal_pixels_the_upper_ones_come_first(tiny):
    image, falling = _photo(SIDE, SIDE), torch.linspace(1, 0, SIDE**2).view(SIDE, SIDE)
    flat, expected = insertion_deletion(
        tiny, [MapQuery(image, MAPS["all zero"], 1), MapQuery(image, falling, 1)]
    )
    assert flat == expected


def test_bits_do_not_depend_on_what_is_judged_together(lite0, chelsea):
    cat, blocks = chelsea, _photo(70, 50)
    queries = [
        MapQuery(cat, _random(300, 451), 285),
        MapQuery(blocks, _random(70, 50, seed=1), 7),
        MapQuery(cat, _random(300, 451, seed=2), 281),
    ]
    settings = CurveSettings(share=0.5)
    together = insertion_deletion(lite0, queries, settings)
    assert [insertion_deletion(lite0, [one], settings)[0] for one in queries] == together
    assert insertion_deletion(lite0, queries[::-1], settings) == together[::-1]
    assert len(set(together)) == 3
    [other] = insertion_deletion(lite0, queries[1:2], settings, batch_size=3)
    assert other == pytest.approx(together[1], abs=1e-5)

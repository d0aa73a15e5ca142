"""Insertion and deletion beside a plain loop, a pixel and an image at a time."""

import copy
import math
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.transform import resize
from sklearn.metrics import auc
from torch import nn

from sess_kernels import SessError
from sess_kernels.backbones import Backbone, BlackBox, Preprocessing
from sess_kernels.backbones.base import FixedForward
from sess_kernels.backbones.runtimes import with_runtime
from sess_kernels.metrics import (
    CurveSettings,
    InsertionDeletion,
    InsertionDeletionMetric,
    MapQuery,
    insertion_deletion,
    score_curves,
)

SIDE = 32
SMALL = Preprocessing(SIDE, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(3)
    body = [nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return Backbone(nn.Sequential(*body, nn.Linear(8, 4)), name="tiny", preprocessing=SMALL)


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


class _Counted:
    def __init__(self):
        self.shapes = []

    def __call__(self, images):
        self.shapes.append(images.shape)
        red = images[:, 0].mean((1, 2))
        return np.stack([red, -red], axis=1)


def test_batches_of_one_size_and_ends_once_for_an_image():
    classify = _Counted()
    backbone = BlackBox(classify, preprocessing=SMALL)
    classify.shapes.clear()
    images = _photo(SIDE, SIDE), _photo(50, 60, seed=1)
    queries = [MapQuery(images[n % 2], _random(SIDE, SIDE, seed=n), n % 2) for n in range(5)]
    insertion_deletion(backbone, queries, CurveSettings(share=0.25), batch_size=6)
    n_frames = 2 * 3 + 5 * 2 * 3  # ends of both images, frames between those of each map
    assert classify.shapes == [(6, 3, SIDE, SIDE)] * math.ceil(n_frames / 6)


def test_the_batch_is_that_of_the_classifier(tiny):
    classify = _Counted()
    fixed = BlackBox(classify, preprocessing=SMALL, batch_size=5)
    query = MapQuery(_photo(SIDE, SIDE), MAPS["random"], 1)
    insertion_deletion(fixed, [query])
    assert {shape[0] for shape in classify.shapes} == {5}
    fast, calls = copy.deepcopy(tiny), []
    call = lambda patches: calls.append(len(patches)) or tiny(patches)  # noqa: E731
    fast.fixed_forward = FixedForward(torch.Size((3, 3, SIDE, SIDE)), torch.float32, call)
    [found] = insertion_deletion(fast, [query])
    assert calls == [3] * math.ceil((3 + 2 * 27) / 3)
    assert found == pytest.approx(insertion_deletion(tiny, [query])[0], abs=1e-6)


def test_a_backbone_in_bfloat16_is_near(tiny):
    queries = [MapQuery(_photo(SIDE, SIDE), MAPS["random"], 1)]
    half = with_runtime(tiny, "torch", 4, torch.bfloat16)
    [found] = insertion_deletion(half, queries)
    [exact] = insertion_deletion(tiny, queries)
    assert found == pytest.approx(exact, abs=1e-2)
    assert found != exact


def test_groups_of_classes_are_followed_by_their_sum(tiny):
    image, saliency = _photo(SIDE, SIDE), MAPS["random"]
    alone = insertion_deletion(tiny, [MapQuery(image, saliency, index) for index in (0, 3)])
    grouped = copy.deepcopy(tiny).group_classes({"both": [0, 3], "none": []})
    [both] = insertion_deletion(grouped, [MapQuery(image, saliency, 0)])
    assert both.insertion == pytest.approx(sum(one.insertion for one in alone), abs=1e-6)
    assert both.deletion == pytest.approx(sum(one.deletion for one in alone), abs=1e-6)
    with pytest.raises(ValueError, match=r"1 \(none\) has none"):
        insertion_deletion(grouped, [MapQuery(image, saliency, 1)])


def test_nothing_to_judge(tiny):
    assert insertion_deletion(tiny, []) == []
    metric = InsertionDeletionMetric(tiny)
    metric.update([])
    assert all(value.isnan() for value in metric.compute().values())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"share": 0}, "share must be above 0 and at most 1 but got 0"),
        ({"share": math.nan}, "share"),
        ({"blur": (50, 5.0)}, "odd number of pixels but got 50"),
        ({"blur": (51, 0.0)}, "deviation of the blur must be above 0"),
        ({"start": "blurred"}, "unknown start 'blurred'; did you mean 'blur'?"),
        ({"baseline": "gray", "share": 2}, "share .*; unknown baseline 'gray'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given, said):
    with pytest.raises(SessError, match=said):
        CurveSettings(**given)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"saliency": torch.zeros(1, 4, 4)}, r"map \(H, W\) for query 1 but got \(1, 4, 4\)"),
        ({"saliency": torch.zeros(0, 4)}, "for query 1"),
        ({"saliency": torch.full((4, 4), torch.nan)}, "finite values for query 1"),
        ({"class_index": 4}, "classes of 0 to 3 but got 4"),
        ({"image": torch.zeros(4, 4)}, r"\(3, H, W\)"),
    ],
)
def test_maps_that_cannot_be_judged_are_refused(tiny, changes, said):
    query = MapQuery(_photo(SIDE, SIDE), MAPS["random"], 1)
    with pytest.raises(ValueError, match=said):
        insertion_deletion(tiny, [query, query._replace(**changes)])


def test_what_the_classifier_cannot_do_is_told(tiny):
    query = MapQuery(_photo(SIDE, SIDE), MAPS["random"], 1)
    with pytest.raises(SessError, match="input of tiny, 32 pixels; take one of at most 63"):
        insertion_deletion(tiny, [query], CurveSettings(blur=(65, 50.0)))
    broken = BlackBox(lambda images: images[:, :2, 0, 0] * np.nan, preprocessing=SMALL)
    with pytest.raises(SessError, match="scores of black box are not finite"):
        insertion_deletion(broken, [query])


def test_the_metric_is_the_mean_over_maps_and_by_class(tiny):
    queries = [
        MapQuery(_photo(SIDE, SIDE, seed=n), _random(SIDE, SIDE, seed=n), n % 2) for n in range(5)
    ]
    areas = np.array(insertion_deletion(tiny, queries))
    metric = InsertionDeletionMetric(tiny, n_classes=4)
    metric.update(queries[:3])
    other = InsertionDeletionMetric(tiny, n_classes=4)
    other.update(queries[3:])
    metric.merge_state(other)
    found = {name: value.item() for name, value in metric.compute().items()}
    insertion, deletion = areas.mean(0)
    assert found == pytest.approx(
        {"insertion": insertion, "deletion": deletion, "overall": insertion - deletion}
    )
    by_class = metric.class_figures(metric.sums)["insertion"].tolist()
    expected = [areas[0::2, 0].mean(), areas[1::2, 0].mean(), math.nan, math.nan]
    assert by_class == pytest.approx(expected, nan_ok=True)
    resampled = torch.stack([metric.sums, 2 * metric.sums, 0 * metric.sums])
    assert metric.figures(resampled)["deletion"].tolist() == pytest.approx(
        [deletion, deletion, math.nan], nan_ok=True
    )


def test_a_metric_of_all_classes_together_has_no_weights_and_needs_no_classifier(tiny):
    queries = [MapQuery(_photo(SIDE, SIDE), MAPS["random"], index) for index in (0, 3)]
    metric = InsertionDeletionMetric(tiny, CurveSettings(share=0.2), batch_size=3)
    metric.update(queries)
    areas = insertion_deletion(tiny, queries, CurveSettings(share=0.2), batch_size=3)
    assert metric.sums[0].tolist() == pytest.approx([*np.sum(areas, axis=0), 2])
    metric.persistent(True)
    assert list(metric.state_dict()) == ["sums"]
    assert list(metric.parameters()) == []
    without = InsertionDeletionMetric()
    without.sums += without.observe(InsertionDeletion(0.75, 0.25))
    assert without.figures(without.sums)["overall"] == 0.5
    with pytest.raises(SessError, match="give it a backbone"):
        without.update(queries)

"""Insertion and deletion beside a plain loop, an image at a time."""

import math

import cv2
import numpy as np
import pytest
import torch
from skimage.transform import resize
from sklearn.metrics import auc

from sess_kernels.metrics import insertion_deletion


def _plain(backbone, image, saliency, class_index, share):
    """One pixel after the other, one forward a step, OpenCV's blur."""
    size = backbone.input_size
    mean, std = backbone.preprocessing.mean, backbone.preprocessing.std
    whole = ((image / 255 - mean) / std).astype(np.float32)
    blurred = cv2.GaussianBlur(whole, (51, 51), 50, borderType=cv2.BORDER_REFLECT_101)
    order = sorted(range(size * size), key=lambda pixel: -saliency.flat[pixel])
    step = round(share * size * size)
    found = []
    for start, target in ((blurred, whole), (whole, np.zeros_like(whole))):
        now, curve = start.copy(), []
        for number in range(math.ceil(size * size / step) + 1):
            with torch.no_grad():
                patch = torch.from_numpy(now).permute(2, 0, 1)[None]
                curve.append(backbone(patch)[1].softmax(1)[0, class_index].item())
            for pixel in order[number * step : (number + 1) * step]:
                row, column = divmod(pixel, size)
                now[row, column] = target[row, column]
        found.append(auc(np.linspace(0, 1, len(curve)), curve))
    return found


def _square(chelsea, size):
    image = resize(chelsea, (size, size), preserve_range=True).astype(np.uint8)
    row, column = np.mgrid[:size, :size]
    return image, np.exp(-((row - 90) ** 2 + (column - 110) ** 2) / 4000).astype(np.float32)


@pytest.mark.parametrize("share", [0.036, 0.3])
def test_curves_are_those_of_a_plain_loop(lite0, chelsea, share):
    image, saliency = _square(chelsea, 224)
    expected = _plain(lite0, image, saliency, 285, share)
    [found] = insertion_deletion(
        lite0, image, torch.from_numpy(saliency), 285, share=share, batch_size=8
    )
    assert found == pytest.approx(expected, abs=2e-4)
    assert found.overall == found.insertion - found.deletion
    assert found.insertion > found.deletion


def test_several_maps_of_an_image_are_judged_as_each_alone(lite0, chelsea):
    maps = [
        torch.rand(chelsea.shape[:2], generator=torch.Generator().manual_seed(n)) for n in (0, 1)
    ]
    together = insertion_deletion(lite0, chelsea, maps, 285, share=0.25, batch_size=4)
    alone = [
        insertion_deletion(lite0, chelsea, one, 285, share=0.25, batch_size=4)[0] for one in maps
    ]
    assert together == alone
    assert together[0] != together[1]


def test_of_equal_pixels_the_upper_ones_come_first(lite0, chelsea):
    image, _ = _square(chelsea, 224)
    [flat] = insertion_deletion(lite0, image, torch.zeros(224, 224), 285, share=0.25)
    falling = torch.linspace(1, 0, 224 * 224).view(224, 224)
    assert insertion_deletion(lite0, image, falling, 285, share=0.25) == [flat]


def test_groups_of_classes_are_followed_by_their_sum(chelsea):
    from sess_kernels import load_backbone

    image, saliency = _square(chelsea, 224)
    plain = load_backbone("lite0")
    alone = [
        insertion_deletion(plain, image, torch.from_numpy(saliency), index, share=0.25)[0]
        for index in (282, 285)
    ]
    cats = load_backbone("lite0").group_classes({"cat": [282, 285]})
    [both] = insertion_deletion(cats, image, torch.from_numpy(saliency), 0, share=0.25)
    assert both.insertion == pytest.approx(sum(one.insertion for one in alone), abs=1e-5)


@pytest.mark.parametrize(("given", "said"), [({"share": 0}, "share"), ({"blur": (50, 5.0)}, "odd")])
def test_settings_that_make_no_sense_are_refused(lite0, chelsea, given, said):
    with pytest.raises(ValueError, match=said):
        insertion_deletion(lite0, chelsea, torch.zeros(300, 451), 285, **given)

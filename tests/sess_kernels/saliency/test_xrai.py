import sys

import numpy as np
import pytest
import saliency.core as pair
import torch
from skimage import data

from sess_kernels.errors import SessError
from sess_kernels.fuse import min_max
from sess_kernels.saliency.base import Query
from sess_kernels.saliency.xrai import XRAI, segments


def _query(images, patch, classes, batch_size=4):
    features = torch.zeros(len(images), 0)
    return Query(images, features, torch.tensor(patch), torch.tensor(classes), batch_size)


def _pair_xrai(model, image, class_index, steps, algorithm):
    """XRAI of PAIR's package, whole: on pixels from 0 to 1, with its own integrated gradients."""

    def gradients(pixels, call_model_args, expected_keys):
        leaf = torch.tensor(pixels, requires_grad=True)
        logits = model((leaf.permute(0, 3, 1, 2) * 255 - 127) / 128)
        [gradient] = torch.autograd.grad(logits[:, class_index].sum(), leaf)
        return {pair.INPUT_OUTPUT_GRADIENTS: gradient.numpy()}

    pixels = ((image * 128 + 127) / 255).permute(1, 2, 0).numpy()
    found = pair.XRAI().GetMask(
        pixels,
        gradients,
        baselines=[np.zeros_like(pixels), np.ones_like(pixels)],
        batch_size=4,
        extra_parameters=pair.XRAIParameters(steps=steps, algorithm=algorithm),
    )
    return torch.tensor(found)[None]


@pytest.mark.slow
@pytest.mark.parametrize(("photo", "algorithm"), [(0, "full"), (1, "fast")])
def test_parity_with_pair(
    exact_lite0, plain_lite0, exact_photos, photo_classes, photo, algorithm, agree
):
    images, class_index, steps = exact_photos, int(photo_classes[photo]), 5
    method = XRAI(steps=steps, algorithm=algorithm)
    found = method(exact_lite0, _query(images, [photo], [class_index], steps))
    expected = _pair_xrai(plain_lite0, images[photo], class_index, steps, algorithm)
    agree(min_max(found, 112), min_max(expected, 112), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(224, 224), (150, 260)])
def test_segments_are_those_of_pair(size):
    from saliency.core import xrai

    image = data.chelsea()[: size[0], : size[1]].astype(np.float32)
    expected = xrai._get_segments_felzenszwalb(image)
    found = segments(image)
    assert len(found) == len(expected)
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.slow
def test_batch_mates_do_not_matter(lite0, photos):
    method = XRAI(steps=2, algorithm="fast")
    together = method(lite0, _query(photos, [2, 0, 2], [657, 281, 3]))
    for patch, class_index, map_ in zip([2, 0, 2], [657, 281, 3], together, strict=True):
        assert torch.equal(method(lite0, _query(photos, [patch], [class_index]))[0], map_)


def test_constant_images_give_zeros(lite0):
    images = torch.stack([torch.full((3, 224, 224), value) for value in (-0.5, 0.3)])
    found = XRAI(steps=2)(lite0, _query(images, [0, 1], [281, 3]))
    assert torch.equal(found, torch.zeros(2, 224, 224))


def test_missing_package_says_what_to_install(lite0, monkeypatch):
    monkeypatch.setitem(sys.modules, "saliency.core.xrai", None)
    with pytest.raises(SessError, match=r'pip install "sess-pipeline\[xrai\]"'):
        XRAI().check(lite0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 1}, "steps must be at least 2 but got 1"),
        ({"algorithm": "slow"}, "algorithm must be full or fast but got 'slow'"),
        ({"area_threshold": 0}, "area_threshold must be above 0 and at most 1 but got 0"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        XRAI(**options)

"""``torch.use_deterministic_algorithms``: nothing that it forbids is used, and no bit changes."""

from itertools import chain

import pytest
import torch
from torch import nn

from sess_kernels import SESS, Backbone, Preprocessing, SESSConfig


@pytest.fixture
def deterministic():
    """Inside, torch refuses what is not deterministic and fills fresh memory with NaN."""

    def within(call):
        torch.use_deterministic_algorithms(True)
        try:
            return call()
        finally:
            torch.use_deterministic_algorithms(False)

    return within


def _backbone(device):
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
    )
    how = Preprocessing(input_size=32)
    return Backbone(model, name="small", preprocessing=how, target_layer="3").to(device)


@pytest.mark.parametrize(
    ("method", "precision", "search"),
    [
        ("gradcam", "fp32", False),
        ("gradcam", "fast", False),
        ("gradcam", "fp32", True),
        ("gradcam", "fast", True),
        ("layercam", "fp32", False),
        ("guided-backprop", "fp32", True),
        ("groupcam", "fp32", False),
    ],
)
def test_the_same_bits_without_what_is_not_deterministic(
    draw, device, deterministic, method, precision, search
):
    settings = {"scales": 6, "scale_increment": 16, "pre_filter_ratio": 0.8, "smooth": True}
    config = SESSConfig(**settings, search=search)
    images, classes = [draw(40, 56, 1), draw(33, 20, 2), draw(64, 64, 3)], [[1, 2], [0], None]

    def maps():
        return SESS(_backbone(device), method, config, 4, precision)(images, classes)

    for one, other in zip(chain(*maps()), chain(*deterministic(maps)), strict=True):
        assert torch.equal(one.map, other.map)
        assert one.map.isfinite().all()
        assert (one.class_index, one.score, one.n_kept) == (
            other.class_index,
            other.score,
            other.n_kept,
        )

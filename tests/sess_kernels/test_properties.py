"""What holds for any images, any packing and any setting, on a network of a few layers."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from sess_kernels import SESS, Backbone, Preprocessing, SESSConfig, sess
from sess_kernels.windows import grids

_SIDE = 32


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, 2, 1),
        nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    )
    return Backbone(model, name="small", preprocessing=Preprocessing(input_size=_SIDE))


@given(
    size=st.tuples(st.integers(1, 5000), st.integers(1, 50))
    | st.tuples(*[st.integers(1, 700)] * 2),
    turned=st.booleans(),
    window=st.integers(1, 64),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_windows_cover_every_pixel_of_every_scale(size, turned, window, data):
    config = SESSConfig(
        scales=data.draw(st.integers(1, 4)),
        window_size=window,
        step_size=data.draw(st.integers(1, window)),
        base_size=window + data.draw(st.integers(0, 30)),
        scale_increment=data.draw(st.integers(1, 40)),
    )
    height, width = size[::-1] if turned else size
    found = grids(height, width, config)
    for number, grid in enumerate(found):
        assert min(grid.height, grid.width) == config.base_size + number * config.scale_increment
        for length, places in ((grid.height, grid.tops), (grid.width, grid.lefts)):
            ends = np.array(places) + window
            assert places[0] == 0
            assert ends[-1] == length
            assert (np.array(places[1:]) <= ends[:-1]).all()  # no pixel between two windows


@given(
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=5),
    batch_size=st.integers(1, 5),
    ratio=st.sampled_from([0.0, 0.5, 0.9]),
    method=st.sampled_from(["gradcam", "guided-backprop", "groupcam", "integrated-gradients"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_same_bits_however_images_are_packed(small, draw, sizes, batch_size, ratio, method, seed):
    random = np.random.default_rng(seed)
    images = [draw(*size, seed + number) for number, size in enumerate(sizes)]
    classes = [random.permutation(5)[: random.integers(1, 4)].tolist() for _ in images]
    config = SESSConfig(scales=2, scale_increment=16, pre_filter_ratio=ratio)
    explain = SESS(small, method, config, batch_size)
    alone = [explain([image], [given])[0] for image, given in zip(images, classes, strict=True)]
    order = random.permutation(len(images))
    together = explain([images[i] for i in order], [classes[i] for i in order])
    for place, i in enumerate(order):
        for one, other in zip(alone[i], together[place], strict=True):
            assert torch.equal(one.map, other.map)
            assert (one.score, one.n_kept) == (other.score, other.n_kept)
            assert 0 <= one.map.min() <= one.map.max() <= 1


@given(
    scales=st.integers(1, 20),
    step=st.sampled_from([8, 16, 32]),
    ratio=st.floats(0, 0.99),
    theta=st.sampled_from([0.0, 0.1, 0.3]),
    weights=st.sampled_from(["score", "relative", "none"]),
    fusion=st.sampled_from(["mean", "max"]),
    smooth=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_every_knob_gives_a_map_in_zero_to_one(
    small, draw, scales, step, ratio, theta, weights, fusion, smooth
):
    config = SESSConfig(
        scales=scales,
        scale_increment=8,
        base_size=40,
        step_size=step,
        pre_filter_ratio=ratio,
        theta=theta,
        channel_weights=weights,
        fusion=fusion,
        smooth=smooth,
    )
    [[found]] = SESS(small, config=config)([draw(37, 50)], [[1]])
    assert found.n_kept == config.kept(sum(map(len, grids(37, 50, config, _SIDE))))
    assert 0 <= found.map.min() <= found.map.max() <= 1


def test_the_map_is_the_literal_formula_over_its_patches(small, draw):
    """Equations (1) and (2) written out, from the patches that SESS says it kept."""
    image = draw(45, 61)
    for fusion in ("mean", "max"):
        config = SESSConfig(
            scales=3, scale_increment=16, pre_filter_ratio=0.4, theta=0.01, fusion=fusion
        )
        [[found]] = SESS(small, config=config)([image], [[2]], keep_patches=True)
        layers = []
        for patch in found.patches:
            map_ = patch.map[None, None].double()
            big = nn.functional.interpolate(map_, (_SIDE, _SIDE), mode="bilinear")[0, 0]
            canvas = torch.zeros(1, 1, *patch.scaled_size, dtype=torch.float64)
            left, top, right, bottom = patch.window
            canvas[0, 0, top:bottom, left:right] = big * patch.score
            layers.append(nn.functional.interpolate(canvas, (45, 61), mode="bilinear")[0, 0])
        stack = torch.stack(layers)
        above = stack > config.theta
        expected = (stack * above).amax(0)
        if fusion == "mean":
            expected = (stack * above).sum(0) / above.sum(0).clamp_min(1)
        expected = (expected - expected.min()) / (expected.max() - expected.min())
        wrong = (found.map - expected).abs() > 1e-5  # a value at theta may fall on either side
        assert wrong.float().mean() <= 0.005


def test_weights_and_fusion_change_what_they_say(small, draw):
    image, base = draw(45, 61), {"scales": 3, "scale_increment": 16, "normalize": False}
    scored = sess(image, 2, small, config=SESSConfig(**base))
    relative = sess(image, 2, small, config=SESSConfig(**base, channel_weights="relative"))
    plain = sess(image, 2, small, config=SESSConfig(**base, channel_weights="none"))
    largest = sess(image, 2, small, config=SESSConfig(**base, fusion="max"))
    ratio = relative[scored > 0] / scored[scored > 0]
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-4, atol=0)
    assert ratio[0] > 1
    assert plain.max() > relative.max()
    assert (largest >= scored - 1e-6).all()
    assert largest.max() > scored.max()


@pytest.mark.parametrize(
    ("step", "patches"), [(56, [1, 9, 16]), (112, [1, 4, 9]), (224, [1, 4, 4])]
)
def test_step_sizes_of_the_paper(step, patches):
    found = grids(300, 300, SESSConfig(scales=3, step_size=step))
    assert [len(grid) for grid in found] == patches

"""What a call takes of a device's memory, against what it then does take."""

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torchvision.models import resnet18

from sess_kernels import SESS, Backbone, Preprocessing, SESSConfig, load_backbone
from sess_kernels.footprint import LiveBytes, footprint, peak_of_batch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def small():
    """A network that is fast because its patches are small."""
    torch.manual_seed(0)
    return Backbone(resnet18(), name="small", preprocessing=Preprocessing(input_size=64))


def _profiled(call):
    """The most bytes that torch's own allocator had given out at a time, by its profiler."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = call()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    del result
    return peak


@pytest.mark.parametrize("in_place", [True, False])
def test_two_convolutions_by_hand(in_place):
    first, second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)
    network = nn.Sequential(first, nn.ReLU(in_place), second)
    images = torch.zeros(1, 3, 8, 8)
    wide, narrow = (channels * 8 * 8 * 4 for channels in (4, 2))
    with torch.no_grad(), LiveBytes(CPU) as live:
        found = network(images)
    assert live.peak == (wide + narrow if in_place else 2 * wide)
    assert live.now == narrow
    del found
    assert live.now == 0


def test_what_a_graph_holds_lives_until_it_goes():
    leaf = torch.ones(1000, requires_grad=True)
    with LiveBytes(CPU) as live:
        total = leaf.mul(2).exp().sum()  # the graph has the result of exp
        assert live.now == 4000 + 4
        [gradient] = torch.autograd.grad(total, leaf)
        del total
        assert live.now == 4000
    del gradient
    assert live.now == 0


@pytest.mark.parametrize("method", ["gradcam", "gradient"])
def test_the_peak_is_the_profilers(lite0, method):
    explain = SESS(lite0, method)
    found = _profiled(lambda: peak_of_batch(explain, 1))
    patches = 4 * 3 * 224**2  # which are not counted
    assert peak_of_batch(explain, 1) + patches == pytest.approx(found, rel=0.05)


@pytest.mark.parametrize(
    ("method", "precision", "ratio", "search"),
    [
        ("gradcam", "fp32", 0.0, False),
        ("gradient", "fp32", 0.0, False),
        ("gradcam", "fast", 0.9, False),
        ("gradcam", "fp32", 0.9, True),
        ("gradient", "fp32", 0.9, True),
    ],
)
def test_buffers_are_those_of_a_call(small, draw, method, precision, ratio, search):
    config = SESSConfig(scales=3, scale_increment=16, pre_filter_ratio=ratio, search=search)
    explain = SESS(small, method, config, precision=precision)
    expected = footprint(explain, [(100, 150)]).kept
    explain([draw(100, 150)], [[7]])
    buffers = explain.score._batches.images, explain.score._features
    assert sum(one.untyped_storage().nbytes() for one in buffers) == expected


@pytest.mark.parametrize(("method", "scales"), [("gradcam", 2), ("gradient", 1)])
def test_a_call_takes_what_was_told(lite0, draw, method, scales):
    explain = SESS(lite0, method, SESSConfig(scales=scales), batch_size=2)
    told = footprint(explain, [(300, 300)])
    assert told.total == told.weights + told.forward + told.kept + told.images
    there = told.weights + 2 * 4 * 3 * 224**2  # with the first buffer
    found = _profiled(lambda: explain([draw(300, 300)], [[7]]))
    assert 0.9 * found < told.total - there < 1.1 * found


@pytest.mark.parametrize("name", ["lite0", "small"])
def test_a_forward_grows_with_its_batch_on_a_line(name, request):
    explain = SESS(request.getfixturevalue(name), batch_size=4)
    told = footprint(explain, [(100, 150)]).forward
    assert told == pytest.approx(peak_of_batch(explain, 4), rel=0.02)


def test_a_backward_takes_more_than_a_forward(lite0):
    forward, backward = (SESS(lite0, name) for name in ("gradcam", "gradient"))
    assert peak_of_batch(backward, 1) > 2 * peak_of_batch(forward, 1)


def test_what_fast_repeats_in_float32_takes_as_much_as_that(small):
    config = SESSConfig(pre_filter_ratio=0.9)
    exact, fast, half = (
        peak_of_batch(SESS(small, config=config, precision=name), 2)
        for name in ("fp32", "fast", "bf16")
    )
    assert half < fast == exact


def test_a_second_precision_has_weights_of_its_own(small):
    alone = footprint(SESS(small), [(64, 64)]).weights
    assert alone == sum(one.nbytes for one in small.parameters())
    half = (alone + small.pooled_weight.nbytes) // 2  # there it is no part of the last layer
    assert footprint(SESS(small, precision="bf16"), [(64, 64)]).weights == alone + half


def test_more_images_share_buffers_and_have_maps_of_their_own(small):
    explain = SESS(small, config=SESSConfig(scales=2))
    one, many = (footprint(explain, [(100, 150)] * n, 2) for n in (1, 400))
    bytes_of_image = 100 * 150 * (3 + 2 * 4)  # its pixels and two maps
    assert many.images - one.images == 399 * bytes_of_image
    patch = 4 * (3 * 64**2 + 512 * 2**2)
    assert one.kept < many.kept < 256 * 2**20 + 4 * patch
    nothing = footprint(explain, [])
    assert (nothing.kept, nothing.images) == (0, 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("method", ["gradcam", "gradient"])
def test_a_gpu_gives_out_what_was_told(draw, method):
    explain = SESS(load_backbone("lite0", device="cuda"), method, SESSConfig(scales=4))
    image = draw(500, 700)
    told = footprint(explain, [(500, 700)]).total
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    explain([image], [[285]])
    assert 0.8 * told < torch.cuda.max_memory_allocated() < 1.5 * told

"""The kernel beside its twin: interpreted on the CPU, compiled on CUDA."""

import contextlib

import pytest
import torch

from sess_kernels import SESS, SESSConfig
from sess_kernels.calibration import samples
from sess_kernels.fuse import PatchMaps, fuse, min_max
from sess_kernels.triton import available
from sess_kernels.triton.fusion import fuse_all, probe
from sess_kernels.windows import grids, windows_of

WINDOW = 32


def _config(theta=0.0, fusion="mean", scales=3):
    increment = WINDOW // 2
    return SESSConfig(
        scales=scales, scale_increment=increment, window_size=WINDOW, theta=theta, fusion=fusion
    )


def _job(size, map_size, config, seed=0, ratio=0.0):
    """Maps with many exact zeros, as a ReLU leaves them, of the windows that a pre-filter keeps."""
    random = torch.Generator().manual_seed(seed)
    windows = windows_of(grids(*size, config))
    kept = torch.randperm(len(windows), generator=random)[
        : len(windows) - int(len(windows) * ratio)
    ]
    chosen = [windows[i] for i in kept.sort().values]
    maps = torch.rand(len(chosen), *map_size, generator=random).sub(0.3).relu()
    weights = torch.rand(len(chosen), generator=random)
    return PatchMaps(min_max(maps, WINDOW), weights, chosen, size)


def _on(device, jobs):
    return [job._replace(maps=job.maps.to(device)) for job in jobs]


def _undecided(job, config):
    """Pixels where some value is so near to theta that rounding decides whether it counts."""
    found = torch.zeros(job.size, dtype=torch.bool)
    plain = _config(fusion="max", scales=config.scales)
    for map_, weight, window in zip(job.maps, job.weights, job.windows, strict=True):
        value = fuse(map_[None], weight[None], [window], job.size, plain)
        found |= (value != config.theta) & ((value - config.theta).abs() < 1e-6)
    return found


@pytest.mark.parametrize(
    ("size", "map_size", "theta", "fusion", "ratio"),
    [
        ((48, 48), (7, 7), 0.0, "mean", 0.0),
        ((60, 90), (7, 7), 0.1, "mean", 0.5),  # larger than every scaled image
        ((60, 30), (7, 7), 0.1, "max", 0.5),
        ((20, 33), (1, 3), 0.0, "mean", 0.0),  # smaller than every scaled image
        ((40, 35), (32, 32), 0.2, "mean", 0.0),
        ((35, 50), (32, 40), 0.0, "max", 0.5),  # the map is larger than the window
        ((9, 90), (5, 7), 0.0, "mean", 0.9),
        ((1, 1), (7, 7), 0.0, "mean", 0.0),
        ((2, 3), (7, 7), 0.05, "max", 0.0),
    ],
)
def test_the_kernel_is_its_twin(size, map_size, theta, fusion, ratio, device, agree):
    config = _config(theta, fusion)
    job = _job(size, map_size, config, seed=sum(size), ratio=ratio)
    [found] = fuse_all(_on(device, [job]), config)
    expected = fuse(*job, config)
    undecided = _undecided(job, config)
    assert undecided.float().mean() < 0.01
    assert expected.any()
    agree(found.cpu().where(~undecided, 0), expected.where(~undecided, 0), 1e-6)


def test_windows_that_the_source_has_no_pixel_of(device, agree):
    """One pixel samples the middle of a scaled image, and windows at its borders miss it."""
    config = _config(scales=5)
    job = _job((1, 1), (3, 3), config)
    missed = [
        number
        for number, (grid, top, _) in enumerate(job.windows)
        if samples(1, grid.height, top, WINDOW, 3).stop == 0
    ]
    windows = [job.windows[number] for number in missed]
    alone = job._replace(maps=job.maps[missed], weights=job.weights[missed], windows=windows)
    found = fuse_all(_on(device, [job, alone]), config)
    agree(found[0].cpu(), fuse(*job, config), 1e-6)
    assert found[0].any()
    assert missed
    assert not found[1].any()


def test_bits_depend_on_no_other_map_of_the_launch(device, monkeypatch):
    config = _config(0.05, scales=2)
    sizes = [((36, 70), (7, 7)), ((3, 5), (7, 7)), ((36, 70), (7, 7)), ((33, 65), (9, 12))]
    jobs = [_job(*pair, config, seed, ratio=0.6) for seed, pair in enumerate(sizes)]
    jobs = _on(device, jobs)
    together = fuse_all(jobs, config)
    assert len({tuple(map_.shape) for map_ in together}) == 3
    assert not torch.equal(together[0], together[2])
    for job, map_ in zip(jobs, together, strict=True):
        [alone] = fuse_all([job], config)
        assert torch.equal(alone, map_)
    monkeypatch.setattr("sess_kernels.triton.fusion.TILE", (64, 32))
    for one, other in zip(fuse_all(jobs[::-1], config)[::-1], together, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("fusion", ["mean", "max"])
def test_what_is_nothing_is_not_counted(fusion, device):
    config = _config(fusion=fusion)
    job = _job((40, 40), (4, 4), config)
    nothing = job._replace(weights=torch.zeros_like(job.weights))
    flat = job._replace(maps=torch.zeros_like(job.maps))
    none = job._replace(maps=job.maps[:0], weights=job.weights[:0], windows=[])
    half = job.weights.clone()
    half[::2] = 0
    thinned = job._replace(weights=half)
    left = job._replace(maps=job.maps[1::2], weights=half[1::2], windows=job.windows[1::2])
    found = fuse_all(_on(device, [nothing, flat, none, thinned, left]), config)
    assert not any(map_.any() for map_ in found[:3])
    assert found[4].any()
    assert torch.equal(found[3], found[4])


def test_maps_in_any_order_of_memory_and_of_any_precision(device):
    config = _config()
    job = _job((40, 50), (6, 6), config)
    turned = job.maps.transpose(1, 2).contiguous().transpose(1, 2)
    doubled = job._replace(maps=turned.double(), weights=job.weights.double())
    one, other = fuse_all(_on(device, [job, doubled]), config)
    assert torch.equal(one, other)


def test_a_window_too_few_is_told(device):
    config = _config()
    job = _job((40, 40), (4, 4), config)
    n = len(job.maps)
    short = job._replace(windows=job.windows[1:])
    with pytest.raises(ValueError, match=f"for each of {n} maps but got {n} and {n - 1}"):
        fuse_all(_on(device, [short]), config)


def test_deterministic_algorithms_are_enough(device):
    config = _config()
    jobs = _on(device, [_job((40, 40), (4, 4), config)])
    [expected] = fuse_all(jobs, config)
    torch.use_deterministic_algorithms(True)
    try:
        [found] = fuse_all(jobs, config)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(found, expected)


def test_the_device_is_available(device):
    probe(device)
    assert available(device)


@pytest.mark.parametrize("method", ["gradcam", "gradient"])
def test_maps_of_sess(method, device, lite0, draw, monkeypatch, agree):
    """Maps of several images and classes by one launch, those of the twin but for rounding."""
    images, classes = [draw(30, 40, 1), draw(32, 20, 2)], [[285, 7], [9]]
    config = SESSConfig(scales=2, pre_filter_ratio=0.6, channel_weights="relative")
    launches = []

    def counted(jobs, config):
        launches.append(len(jobs))
        return fuse_all(jobs, config)

    monkeypatch.setattr("sess_kernels.triton.fusion.fuse_all", counted)
    found = []
    try:
        for wanted in (True, False):
            monkeypatch.setattr(
                "sess_kernels.explain.in_one_launch", lambda _, wanted=wanted: wanted
            )
            found.append(SESS(lite0.to(device), method, config)(images, classes, keep_patches=True))
    finally:
        lite0.to("cpu")
    assert launches == [3]
    for of_image, of_twin in zip(*found, strict=True):
        for one, other in zip(of_image, of_twin, strict=True):
            assert one.score == other.score
            assert len(one.patches) == one.n_kept == other.n_kept
            assert torch.equal(one.patches[0].map, other.patches[0].map)
            assert one.map.max() == 1
            agree(one.map.cpu(), other.map.cpu(), 1e-5)


@pytest.mark.gpu
def test_large_maps_without_waiting(agree):
    """A dozen scales, several images, and no wait of the host for the device."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    config = SESSConfig(scales=12, window_size=224)
    jobs = []
    for size, side in (((1500, 2000), 7), ((375, 500), 7), ((333, 500), 224)):
        windows = windows_of(grids(*size, config))
        random = torch.Generator().manual_seed(side)
        maps = torch.rand(len(windows), side, side, generator=random).sub(0.3).relu()
        weights = torch.rand(len(windows), generator=random)
        jobs.append(PatchMaps(min_max(maps, 224).cuda(), weights, windows, size))
    fuse_all(jobs, config)
    with _no_waiting():
        found = fuse_all(jobs, config)
    for job, map_ in zip(jobs, found, strict=True):
        agree(map_, fuse(*job, config), 2e-6)


@contextlib.contextmanager
def _no_waiting():
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")

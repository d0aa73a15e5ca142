"""The benchmark of a device, with a network that costs nothing and times that are known."""

import json
import os
import shutil

import pytest
import torch
from torch import nn

import jobs.bench as bench_module
from jobs.benchmarks import BENCHMARKS, Setting, device, measure, passes
from jobs.benchmarks.device import CASES, Case, _needed
from jobs.benchmarks.passes import Bare, Pass
from sess_kernels import Backbone, Preprocessing

NOOP = "jobs.benchmarks.standin:noop"
FLOPS = 2 * 3 * 10  # of its only matrix product, a patch
TIMES = {"sess": [2.0, 4.0], "eager": [1.0, 3.0], "compiled": [0.5, 2.0], "matmul": [0.25, 0.25]}


@pytest.fixture
def known(monkeypatch):
    """No pass is timed and nothing compiled."""

    def alternate(rivals, repeats, device):
        for call in rivals.values():
            call()
        return {name: TIMES[name] for name in rivals}

    torch.set_num_threads(1)
    for module in (device, passes):
        monkeypatch.setattr(module, "alternate", alternate)
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    return monkeypatch


def rows(**settings):
    return list(BENCHMARKS["device"](Setting(NOOP, **{"scales": 3, "images": 2} | settings)))


def only(monkeypatch, *cases):
    monkeypatch.setattr(device, "CASES", cases)


def test_rows_and_their_names(known):
    found = rows(scales=1, images=1)
    assert [row["what"] for row in found] == [
        *(f"SESS Grad-CAM, r = {ratio}, fp32" for ratio in ("0", "0.9", "0.99", "0.9, search")),
        *(
            f"SESS Guided backpropagation, r = {ratio}, fp32"
            for ratio in ("0", "0.9", "0.99", "0.9, search")
        ),
        *(f"SESS Group-CAM, r = {ratio}, fp32" for ratio in ("0.9", "0.99")),
        *(f"SESS Grad-CAM, r = 0.9, {precision}" for precision in ("fast", "bf16")),
    ]
    assert not [row for row in found if "error" in row]
    assert {row["weights"] for row in found} == {"own"}
    assert {row["peak_mb"] for row in found} == {None}  # of a GPU alone
    json.dumps(found, allow_nan=False)


def test_shares_are_those_of_the_measured_times(known):
    only(known, Case("guided-backprop", 0.9))
    [row] = rows()
    n_patches, n_kept = row["patches"], row["kept"]
    assert row["share_of_eager"] == {"median": 0.625, "q1": 0.5625, "q3": 0.6875, "n": 2}
    assert row["share_of_compiled"] == {"median": 0.375, "q1": 0.3125, "q3": 0.4375, "n": 2}
    assert row["sess_images_per_s"]["median"] == (2 / 2 + 2 / 4) / 2
    assert row["sess_patches_per_s"]["median"] == n_patches * (1 / 2 + 1 / 4) / 2
    assert row["sess_s"]["median"] == 3
    assert row["compiled_s"]["median"] == 1.25
    assert row["passes"] == [
        {"precision": "fp32", "backward": False, "patches": n_patches},
        {"precision": "fp32", "backward": True, "patches": n_kept},
    ]
    side, times = passes._PRODUCTS["cpu"]
    rate = times * 2 * side**3 / 0.25
    assert row["matrix_tflops"] == {"fp32": rate / 1e12}
    flops = FLOPS * (n_patches + 2 * n_kept)  # backward by the input: as many again
    assert row["tflop"] == pytest.approx(flops / 1e12)
    best = flops / rate
    assert row["share_of_matrix_rate"]["median"] == pytest.approx((best / 2 + best / 4) / 2)


def test_search_is_compared_with_the_patches_that_it_ran(known):
    only(known, Case("gradcam", 0.9, search=True))
    [row] = rows(scales=8)
    assert 0 < row["scored"] < row["patches"]
    assert row["passes"] == [{"precision": "fp32", "backward": False, "patches": row["scored"]}]


def test_passes_of_each_kind():
    fp32, bf16 = torch.float32, torch.bfloat16
    assert _needed(Case("gradcam", 0.9), 81, 81, 9) == [Pass(fp32, False, 81)]
    assert _needed(Case("guided-backprop", 0.0), 81, 81, 81) == [Pass(fp32, True, 81)]
    assert _needed(Case("groupcam", 0.9), 81, 81, 9) == [Pass(fp32, False, 81 + 33 * 9)]
    assert _needed(Case("gradcam", 0.9, precision="bf16"), 81, 81, 9) == [Pass(bf16, False, 81)]
    found = _needed(Case("gradcam", 0.9, precision="fast"), 81, 95, 9)
    assert found == [Pass(bf16, False, 81), Pass(fp32, False, 14)]


def test_bare_passes_are_full_batches(known):
    seen = []
    backbone = Setting(NOOP).load()
    backbone.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    batch = torch.zeros(4, 3, 32, 32)
    Bare(backbone, Setting(NOOP)).eager([Pass(torch.float32, False, 9)], batch)()
    assert seen == [4, 4, 4]


def test_a_row_that_fails_leaves_the_others(known):
    real, done = device.SESS, []

    def out_of_memory(*given):
        done.append(given)
        if len(done) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")
        return real(*given)

    known.setattr(device, "SESS", out_of_memory)
    found = rows(scales=1, images=1)
    assert len(found) == len(CASES)
    assert [i for i, row in enumerate(found) if "error" in row] == [1]
    message = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"
    assert found[1] | {"error": message} == found[1]
    assert found[1]["what"] == "SESS Grad-CAM, r = 0.9, fp32"


def test_a_backbone_that_cannot_be_loaded_is_a_row():
    [row] = BENCHMARKS["device"](Setting("nowhere:nothing"))
    assert (row["backbone"], row["what"]) == ("nowhere:nothing", "backbone")
    assert "nowhere" in row["error"]


def test_without_a_compiler_its_share_is_null(known):
    def none(network, **_):
        raise RuntimeError("no C compiler\nfound")

    known.setattr(torch, "compile", none)
    only(known, Case("gradcam", 0.0))
    [row] = rows()
    assert row["share_of_compiled"] is row["compiled_s"] is row["compile_s"] is None
    assert row["compile_error"] == "RuntimeError: no C compiler found"
    assert row["share_of_eager"]["median"] == 0.625


@pytest.mark.slow
def test_what_is_compiled_gives_the_same():
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(8, 5))
    backbone = Backbone(network, name="tiny", target_layer="1", preprocessing=Preprocessing(16))
    bare, images = Bare(backbone, Setting()), torch.rand(2, 3, 16, 16)
    run, fault = bare.compiled([Pass(torch.float32, back, 2) for back in (False, True)], images)
    if run is None and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        pytest.skip("torch.compile needs a C++ compiler")
    assert run is not None, fault
    run()
    compiled, eager = bare._compiled[torch.float32], bare._network(torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), eager(images))
    classes = torch.tensor([1, 2])
    found, expected = (bare._gradient(one, images, classes) for one in (compiled, eager))
    torch.testing.assert_close(found, expected)
    assert bare.compile_seconds([Pass(torch.float32, True, 2)]) > 0


@pytest.fixture
def cuda(monkeypatch, tmp_path):
    """A feigned GPU and a benchmark of it, in a folder like the repository's."""
    asked = []

    def feigned(setting):
        asked.append(setting)
        yield {"backbone": setting.backbone, "what": "first"}
        yield {"backbone": setting.backbone, "what": "second", "error": "out of memory"}

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(bench_module, "machine", lambda _: {"device": "NVIDIA H100 80GB HBM3"})
    monkeypatch.setitem(bench_module.BENCHMARKS, "device", feigned)
    monkeypatch.chdir(tmp_path)
    return asked


def test_on_cuda_it_is_the_default_and_writes_a_file_for_each_backbone(cuda, tmp_path):
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    assert bench_module.bench(device="cuda", json=True) == 1  # rows failed
    assert [(one.backbone, one.images) for one in cuda] == [
        ("torchvision/resnet50", 25),
        ("torchvision/vgg16", 25),
        ("lite0", 25),
    ]
    assert sorted(one.name for one in results.iterdir()) == [
        f"device-{name}-nvidia-h100-80gb-hbm3.json" for name in ("lite0", "resnet50", "vgg16")
    ]
    written = json.loads((results / "device-vgg16-nvidia-h100-80gb-hbm3.json").read_text())
    assert [row["backbone"] for row in written["rows"]] == ["torchvision/vgg16"] * 2


def test_with_out_all_rows_are_in_one_file(cuda, tmp_path):
    out = tmp_path / "all.json"
    bench_module.bench(device="cuda", backbone=("a", "b"), images=2, out=out, json=True)
    assert [row["backbone"] for row in json.loads(out.read_text())["rows"]] == ["a", "a", "b", "b"]
    assert list(tmp_path.iterdir()) == [out]


def test_lite0_without_its_package_has_random_weights(monkeypatch, lite0):
    assert Setting("lite0").weights == "own"
    monkeypatch.setattr(measure, "_has_lite0", lambda: False)
    setting = Setting("lite0")
    assert setting.weights == "random"
    mine, published = setting.load().pooled_weight, lite0.pooled_weight
    assert mine.shape == published.shape
    assert not torch.equal(mine, published)

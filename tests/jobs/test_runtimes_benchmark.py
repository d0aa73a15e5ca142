import pytest

from jobs.benchmarks import BENCHMARKS, Setting
from jobs.benchmarks.table import show
from sess_kernels import SessError
from sess_kernels.backbones import runtimes


def test_each_runtime_beside_torch_and_from_when_it_pays(monkeypatch, capsys):
    def known_times(calls, repeats, device):
        assert next(iter(calls)) == "torch"
        for call in calls.values():
            call()
        return dict(zip(calls, ([4.0, 4.0], [2.0, 2.0]), strict=True))

    monkeypatch.setattr("jobs.benchmarks.runtimes.alternate", known_times)
    build = runtimes._compiled

    def broken(*given):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(runtimes, "_compiled", broken)
    setting = Setting("timm/test_resnet", scales=1, images=3, repeats=2)
    compiled, openvino = list(BENCHMARKS["runtimes"](setting))
    assert "no compiler" in compiled["error"]
    assert openvino["against"] == "runtime openvino"
    assert openvino["ratio"]["median"] == 2
    assert openvino["start_s"] > 0
    assert openvino["pays_from_images"] == pytest.approx(openvino["start_s"] / 2 * 3)
    show([compiled, openvino])
    assert "pays from" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setattr(runtimes, "_compiled", build)


def test_an_unknown_runtime_is_refused():
    with pytest.raises(SessError, match="unknown runtime"):
        runtimes.with_runtime(Setting("timm/test_resnet").load(), "jit", 4)

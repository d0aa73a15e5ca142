import json
import os
import re
import subprocess
import sys

import pytest
import torch
import torchvision.models as tvm

from jobs.cli import main
from pipeline.read import read_rows

LOCAL = ["--engine", "local", "--scales", "1"]


@pytest.fixture
def said(capsys):
    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def _one_line(error):
    """Whether a fault is told in one line, behind notes of what the source leaves out."""
    lines = [line for line in error.splitlines() if not line.startswith("note: ")]
    return len(lines) == 1 and lines[0].startswith("sess: ")


def test_a_run_with_failed_rows_exits_1_and_names_them(said, photo_folder, tmp_path):
    out = tmp_path / "out"
    code, text, error = said("run", photo_folder, "--labels", "predicted", "--out", out, *LOCAL)
    assert code == 1
    assert "6 (2 failed)" in text
    assert "failed: cut.jpg: " in error
    assert "not.jpg is no image of a known format" in error


def test_json_and_quiet(said, photo_folder, tmp_path):
    arguments = ["--labels", "predicted", "--limit", 2, *LOCAL]
    code, text, error = said("run", photo_folder, "--out", tmp_path / "a", "--json", *arguments)
    assert (code, error) == (0, "")
    assert json.loads(text)["images"] == 2
    assert said("run", photo_folder, "--out", tmp_path / "b", "--quiet", *arguments) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "{t}/none", "--out", "{t}/o"], "folder {t}/none does not exist"),
        (["run", "{t}/empty", "--out", "{t}/o"], "folder {t}/empty holds no image"),
        (["run", "{p}", "--out", "{t}/o"], "carries no labels; run with --labels predicted"),
        (["run", "{p}"], "--out requires an argument"),
        (["run", "{p}", "--out", "{t}/o", "--scles", "3"], "Did you mean --scales"),
        (["run", "{p}", "--out", "{t}/o", "--method", "gradcm"], "did you mean 'gradcam'"),
        (["run", "{p}", "--out", "{t}/o", "--backbone", "lite"], "did you mean 'lite0'"),
        (["run", "{p}", "--out", "{t}/o", "--target-layer", "bn3"], "did you mean 'bn2'"),
        (["run", "{p}", "--out", "{t}/o", "--labels", "{t}/l.csv"], "ghost.jpg"),
        (["run", "{p}", "--out", "{t}/o", "--labels", "{t}/far.csv"], "class index 1000 but"),
        (["run", "{p}", "--out", "{t}/o", "--labels", "{t}/no.csv"], "no.csv does not exist"),
        (["run", "{p}", "--out", "{t}/file/o"], "--out {t}/file/o cannot be written"),
        (["run", "{p}", "--out", "{t}/o", "--weights", "{t}/w.pt"], "w.pt do not exist"),
        (["run", "{p}", "--out", "{t}/o", "--weights", "{t}/l.csv"], "cannot be read as a state"),
        (["run", "{p}", "--out", "{t}/o", "--device", "cuda", "--engine", "local"], "cuda"),
        (["run", "{p}", "--out", "{t}/o", "--scales", "0", "--theta", "-1"], "theta must be"),
        (
            ["run", "{p}", "--out", "{t}/o", "--method", "rise", "--method-options.p", "x"],
            "option p of method rise must be float but got 'x'",
        ),
        (["run", "{p}", "--out", "{t}/o", "--precision", "fp23"], "unknown precision 'fp23'"),
        (["run", "{p}", "--out", "{t}/o", "--class-groups", "{t}/no.json"], "do not exist"),
        (["run", "{p}", "--out", "{t}/o", "--fusion", "sum"], "unknown fusion 'sum'; known: mean"),
        (["bench", "--what", "precision"], "give them with --source"),
        (["rnu"], 'Unknown command "rnu". Did you mean "run"'),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    said, photo_folder, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "l.csv").write_text("image,label\ncat.jpg,285\nghost.jpg,1\n")
    (tmp_path / "far.csv").write_text("image,label\ncat.jpg,1000\n")
    if "--out" in arguments and "--labels" not in arguments and "carries" not in words:
        arguments = [*arguments, "--labels", "predicted"]
    filled = [argument.format(t=tmp_path, p=photo_folder) for argument in arguments]
    code, text, error = said(*filled)
    assert code == 2
    assert _one_line(error), error
    assert words.format(t=tmp_path) in error
    assert text == ""


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (
            ["--method-options.n-masks", "6", "--method-options.p", "0.25"],
            {"n_masks": 6, "p": 0.25},
        ),
        (["--config", "{t}/c.yaml"], {"n_masks": 5, "p": 0.75, "grid": 3}),
        (
            ["--config", "{t}/c.yaml", "--method-options.p", "0.25", "--method-options.seed=7"],
            {"n_masks": 5, "p": 0.25, "grid": 3, "seed": 7},
        ),
        (
            ["--config={t}/c.yaml", "--method-options.n_masks=4"],
            {"n_masks": 4, "p": 0.75, "grid": 3},
        ),
    ],
)
def test_options_of_a_method(said, photo_folder, tmp_path, flags, options):
    file = tmp_path / "c.yaml"
    file.write_text("method_options: {n_masks: 5, p: 0.75, grid: '3'}\n")
    code, _, error = said(
        *("run", photo_folder / "sub", "--labels", "predicted", "--out", tmp_path / "o"),
        *("--method", "rise", "--pre-filter-ratio", "0.9", "--precision", "fast", "--quiet"),
        *(flag.format(t=tmp_path) for flag in flags),
        *LOCAL,
    )
    assert (code, error) == (0, "")
    record = json.loads((tmp_path / "o" / "run.json").read_text())
    assert (
        record["resolved"]["options_of_method"]
        == {"n_masks": 4000, "grid": 7, "p": 0.5, "seed": 0} | options
    )


def test_own_weights_and_layer(said, photo_folder, tmp_path):
    torch.save(tvm.resnet18(num_classes=4).state_dict(), tmp_path / "w.pt")
    code, _, error = said(
        *("run", photo_folder / "sub", "--labels", "predicted", "--out", tmp_path / "o"),
        *("--backbone", "torchvision/resnet18", "--weights", tmp_path / "w.pt"),
        *("--target-layer", "layer3", "--quiet", *LOCAL),
    )
    assert (code, error) == (0, "")
    [row] = read_rows(tmp_path / "o")
    assert row["targets"][0]["class_index"] < 4


def test_a_file_of_settings_and_flags_that_win(said, photo_folder, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("labels: predicted\nengine: local\nscales: 3\npre-filter-ratio: 0.5\n")
    out = tmp_path / "o"
    code, _, error = said(
        "run", photo_folder / "sub", "--out", out, "--config", config, "--scales", 2, "--quiet"
    )
    assert (code, error) == (0, "")
    settings = json.loads((out / "run.json").read_text())["config"]
    assert (settings["scales"], settings["pre_filter_ratio"]) == (2, 0.5)


def test_all_faults_of_a_file_are_told(said, photo_folder, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("scale: 3\nthetta: 1\nworkers: 0\nformat: [parquet, npy]\n")
    code, _, error = said("run", photo_folder, "--out", tmp_path / "o", "--config", config)
    assert code == 2
    assert _one_line(error)
    for words in (
        "unknown key 'scale'; did you mean 'scales'",
        "'thetta'",
        "workers must be",
        "format must be",
    ):
        assert words in error


def test_help_and_version(said):
    code, text, _ = said("--help")
    assert code == 0
    for verb in ("run", "demo", "bench"):
        assert verb in text
    assert "--pre-filter-ratio" in said("run", "--help")[1]
    assert said("--version")[1].strip()


def test_an_interrupt_exits_130(photo_folder, tmp_path):
    program = (
        "import sys, pipeline.engines.local as e\n"
        "def interrupted(*args): raise KeyboardInterrupt\n"
        "e.run_local = interrupted\n"
        "from jobs.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["run", str(photo_folder), "--labels", "predicted", "--out", str(tmp_path / "o")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, *LOCAL],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1].startswith("sess: interrupted")


@pytest.mark.slow
def test_benchmarks_measure(said, photo_folder, tmp_path):
    arguments = ["--scales", 1, "--repeats", 1, "--out", tmp_path / "b.json", "--json"]
    arguments += ["--source", photo_folder / "sub"]
    code, text, _ = said(
        "bench", *arguments, "--what", "forwards", "rivals", "methods", "memory", "precision"
    )
    assert code == 0
    result = json.loads(text)
    assert result == json.loads((tmp_path / "b.json").read_text())
    rows = {row["what"]: row for row in result["rows"]}
    whats = " ".join(rows)
    for word in ("r = 0.99", "five classes", "pytorch-grad-cam", "captum", "torchcam", "Guided-BP"):
        assert word in whats
    [fusion] = (rows.pop(what) for what in list(rows) if what.startswith("fusion"))
    assert 24 < fusion["peak_mb"] < 64
    _check_times(rows)


@pytest.mark.slow
def test_methods_are_measured_beside_other_libraries(said):
    arguments = ["--what", "references", "--repeats", 1, "--batch-size", 1, "--json"]
    code, text, error = said("bench", *arguments)
    assert code == 0
    assert error == "measured references lite0\n"
    rows = {row["what"]: row for row in json.loads(text)["rows"]}
    assert len(rows) == 15
    assert rows["XRAI"]["against"] == "PAIR saliency"
    _check_times(rows)


def _check_times(rows):
    """However long it took, what is told of it fits together."""
    for row in rows.values():
        ratio = row["ratio"]
        assert 0 < ratio["q1"] <= ratio["median"] <= ratio["q3"]
    times = [(row["ratio"], row) for row in rows.values() if "ms_per_patch" in row]
    assert len(times) > 10
    for ratio, row in times:
        if ratio["n"] == 1:
            mine, other = row["ms_per_patch"], row["against_ms_per_patch"]
            assert ratio["median"] == pytest.approx(mine / other)


def test_the_benchmark_prints_a_table(said):
    code, text, _ = said("bench", "--what", "memory")
    assert code == 0
    assert re.search(r"fusion of 157 patches at 2000x1500, 12 scales \(peak 4\d\.\d MB\)", text)
    assert said("bench", "--what", "speed")[0] == 2

"""What docs/evaluation.md shows runs, and its tables name every metric and kind of truth."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from jobs.cli import app, main
from jobs.reproduce.experiment import WHATS
from jobs.reproduce.settings import ReproduceConfig
from pipeline.evaluation import METRICS
from pipeline.truth import TRUTHS

PAGE = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for _, text in BLOCKS for line in text.splitlines() if line.startswith("sess ")]


def told(heading):
    """First cells of the table below a heading."""
    rows = PAGE.partition(f"## {heading}")[2].partition("\n## ")[0].splitlines()
    return [found[1] for row in rows if (found := re.match(r"\| `(\w+)", row))]


def test_the_tables_are_whole():
    assert sorted(told("Metrics")) == sorted(METRICS)
    assert sorted(told("Truth")) == sorted(TRUTHS)


def test_the_snippet_runs(capsys):
    [snippet] = [text for language, text in BLOCKS if language == "python"]
    exec(compile(snippet, "evaluation.md", "exec"), {})
    assert capsys.readouterr().out == "tensor(1., dtype=torch.float64)\n"


def test_evaluations_run(tmp_path, monkeypatch, draw, capsys):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Image.fromarray(draw(64, 80)).save("photos/a.png")
    Path("boxes.csv").write_text("image,x0,y0,x1,y1\na.png,8,8,60,60\n")
    flags = ["--labels", "predicted", "--scales", "0", "--engine", "local", "--quiet"]
    for out in ("maps", "other"):
        assert main(["run", "photos", *flags, "--out", out]) == 0
    commands = [command for command in COMMANDS if command.startswith("sess evaluate")]
    assert len(commands) == 2
    for command in commands:
        assert main(shlex.split(command, comments=True)[1:]) == 0
    assert "difference" in capsys.readouterr().out


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("sess reproduce")])
def test_experiments_are_known(command):
    """They want datasets that are not here: names and flags are read, no more."""
    words = shlex.split(command, comments=True)[1:]
    _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    assert set(bound.args) <= set(WHATS)
    assert isinstance(bound.arguments["settings"], ReproduceConfig)

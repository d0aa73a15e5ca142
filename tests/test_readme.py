"""What the README shows runs."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import torchvision.models as tvm
from PIL import Image

from jobs.cli import main
from pipeline import read_maps
from sess_kernels.saliency import METHODS

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
COMMANDS = [line for _, text in BLOCKS for line in text.splitlines() if line.startswith("sess ")]

VOC_XML = "<annotation><object><name>cat</name></object></annotation>"


@pytest.fixture
def here(tmp_path, monkeypatch, draw):
    """A folder with what the README's commands name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.fromarray(draw(64, 80)).save("photos/a.png")
    for name in ("labels.csv", "list.csv"):
        prefix = "photos/" if name == "list.csv" else ""
        (tmp_path / name).write_text(f"image,label\n{prefix}a.png,285\n")
    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1\na.png,8,8,60,60\n")
    voc = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "Annotations"):
        (voc / folder).mkdir(parents=True)
    Image.fromarray(draw(64, 80)).save(voc / "JPEGImages" / "a.png")
    (voc / "Annotations" / "a.xml").write_text(VOC_XML)
    return tmp_path


def test_python_snippets_run(here, capsys):
    assert main(["run", "photos", "--labels", "predicted", "--out", "maps", *_fast()]) == 0
    snippets = [text for language, text in BLOCKS if language == "python"]
    assert len(snippets) == 3
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "a.png" in printed
    assert "torch.Size([300, 451])" in printed


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(here, command):
    verb, *arguments = shlex.split(command, comments=True)[1:]
    if verb == "reproduce":
        assert main([verb, *arguments, "--engine", "local", "--quiet"]) == 0
        assert "| SESS |" in Path("results/table1.md").read_text()
        return
    if verb in ("status", "retry", "export", "evaluate"):
        assert main(["run", "photos", "--labels", "predicted", "--out", "maps", *_fast()]) == 0
        assert main([verb, *arguments]) == 0
        return
    if "torchvision/resnet50" in arguments:  # its published weights are not here
        torch.save(tvm.resnet50().state_dict(), "weights.pt")
        arguments += ["--weights", "weights.pt"]
    fast = _fast(arguments)
    if verb == "plan":
        assert main([verb, *arguments, *(flag for flag in fast if flag != "--quiet")]) == 0
        return
    assert main([verb, *arguments, *fast]) == 0
    assert [record.image_id for record in read_maps("maps")] in (["a.png"], ["photos/a.png"])


def test_there_are_commands_to_run():
    verbs = {shlex.split(command)[1] for command in COMMANDS}
    assert verbs == {"run", "export", "evaluate", "reproduce", "plan", "status", "retry"}


def test_the_page_of_methods_lists_every_one_and_its_options():
    page = (ROOT / "docs/methods.md").read_text().splitlines()
    cells = [line.split("|") for line in page if line.startswith("| `")]
    rows = {name.strip(" `"): options for _, name, _, _, options, _ in cells}
    assert rows.keys() == METHODS.keys()
    for name, said in rows.items():
        options = {field.name: field.default for field in fields(METHODS[name])}
        assert re.findall(r"`(\w+)`", said) == list(options)
        for option, default in options.items():
            if type(default) in (int, float):
                assert f"`{option}` ({default:g})" in said


def _fast(given=()):
    """Flags that make a run short, where the command does not say otherwise."""
    flags = [("--engine", "local"), ("--scales", "1")]
    return [word for flag in flags if flag[0] not in given for word in flag] + ["--quiet"]

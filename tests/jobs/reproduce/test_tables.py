import json

import numpy as np
import pytest
from PIL import Image

from jobs.reproduce import reproduce
from jobs.reproduce.experiment import read_experiment
from jobs.reproduce.page import write_page
from jobs.reproduce.plots import draw_curves
from jobs.reproduce.settings import ReproduceConfig
from jobs.reproduce.tables import markdown, table, verdict
from sess_kernels import SessError

ABOUT = {
    "what": "table1",
    "title": "Insertion",
    "paper": "Table 1",
    "note": "A note.",
    "command": "sess reproduce table1",
    "seed": 0,
    "machine": {"device": "cpu", "cores": 2, "threads": 1, "python": "3", "versions": {"a": "1"}},
    "date": "2026-01-02",
    "pictures": [],
}


def figure(value, by=0.01):
    return {"value": value, "low": value - by, "high": value + by}


def row(run="SESS", at=None, backbone="lite0", printed=None, **more):
    found = {"data": "photos", "backbone": backbone, "method": "gradcam", "title": "Grad-CAM"}
    found |= {"run": run, "variant": f"scales = {at}" if at else "", "at": at, "against": None}
    return found | {"printed": printed or {}, "images": 9, "failed": 0, "of": 50} | more


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_has_the_papers_figure_ours_and_the_difference():
    rows = [
        row(backbone="a", figures={"overall": figure(0.58)}, printed={"overall": 57.3}),
        row(backbone="b", figures={"overall": figure(0.4), "insertion": figure(0.5)}),
        row(backbone="c", figures={"overall": {"value": None, "low": None, "high": None}}),
    ]
    head, _, *lines = table(rows).splitlines()
    assert cells(head) == ["Backbone", "Insertion", "Overall: paper", "ours", "difference"]
    assert cells(lines[0]) == ["a", "-", "57.3", "58.0 (57.0 to 59.0)", "+0.7"]
    assert cells(lines[1]) == ["b", "50.0 (49.0 to 51.0)", "-", "40.0 (39.0 to 41.0)", "-"]
    assert cells(lines[2]) == ["c", "-", "-", "-", "-"]


def test_seconds_are_compared_as_a_ratio():
    seconds = {"seconds": {"value": 0.6, "low": 0.5, "high": 0.7}}
    said = table([row(figures=seconds, printed={"seconds": 1.2})]).splitlines()
    assert cells(said[0]) == ["Seconds: paper", "ours", "ours / paper"]
    assert cells(said[2]) == ["1.20", "0.60 (0.50 to 0.70)", "0.50"]
    assert "In brackets quartiles." in markdown(ABOUT | {"rows": [row(figures=seconds)]})


def test_where_there_is_no_gain_it_is_said():
    gain = {"overall": figure(0.05), "deletion": figure(0.02), "insertion": figure(0.001)}
    figures = {name: figure(0.5) for name in gain}
    rows = [row("without SESS", figures=figures)]
    rows.append(row(figures=figures, against="without SESS", gain=gain))
    said = markdown(ABOUT | {"rows": rows})
    assert "| +0.1 (-0.9 to +1.1) | +2.0 (+1.0 to +3.0) | +5.0 (+4.0 to +6.0) |" in said
    lost = [line for line in said.splitlines() if line.startswith("- ")]
    assert lost == ["- may be chance: Insertion; worse: Deletion"]
    rows[1]["gain"] = {"deletion": figure(-0.02)}
    assert "Every figure is better than there." in markdown(ABOUT | {"rows": rows})
    assert verdict("overall", {"value": None, "low": None, "high": None}) == ""


def test_a_section_tells_the_command_the_images_what_failed_and_the_machine():
    rows = [row(figures={"overall": figure(0.5)}, failed=2), row("XRAI", error="no package")]
    said = markdown(ABOUT | {"rows": rows})
    assert said.startswith("## Table 1: insertion\n\n```\nsess reproduce table1\n```\n\n9 images ")
    assert "9 images from `photos` of 50, seed 0. Method: Grad-CAM. Backbone: lite0." in said
    assert "2 times an image could not be judged. A note." in said
    assert "Not done:\n\n- Grad-CAM, lite0, XRAI: no package\n" in said
    assert said.endswith("*2026-01-02, cpu, 2 cores, 1 thread(s) a worker, Python 3; a 1*\n")


def test_a_plot_shows_every_curve_and_the_level_it_should_rise_above(tmp_path):
    fig5 = read_experiment("fig5")
    rows = [row("without SESS", figures={"insertion": figure(0.4), "deletion": figure(0.2)})]
    for at in (1, 2, 3):
        figures = {"insertion": figure(0.4 + at / 20), "deletion": figure(0.2 - at / 50)}
        rows.append(row(at=at, figures=figures, against="without SESS"))
    (tmp_path / "plot.png").write_bytes(draw_curves(fig5, rows))
    with Image.open(tmp_path / "plot.png") as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert image.format == "PNG"
    blue = (np.abs(pixels.astype(int) - (0, 0x72, 0xB2)).sum(1) < 30).sum()
    assert blue > 500  # the lines, not only the marks of a legend
    assert draw_curves(fig5, rows[:1]) is None
    assert draw_curves(fig5, [row(error="no weights", at=1)]) is None


def write(folder, what, **more):
    folder.mkdir(parents=True, exist_ok=True)
    result = ABOUT | {"what": what, "rows": [row(figures={"overall": figure(0.5)})]} | more
    (folder / f"{what}.json").write_text(json.dumps(result))


def test_a_page_has_all_results_in_the_order_of_the_paper(tmp_path, capsys):
    out, page = tmp_path / "out", tmp_path / "docs" / "results.md"
    write(out / "voc", "table3", paper="Table 3", command="sess reproduce table3 --data voc")
    write(out / "coco", "table3", paper="Table 3", command="sess reproduce table3 --data coco")
    write(out, "fig5", paper="Figure 5", pictures=["fig5.png"])
    write(out, "theta", title="Theta")
    write(out, "table1")
    Image.new("RGB", (3, 2)).save(out / "fig5.png")
    (out / "cases").mkdir()
    (out / "cases" / "table1-lite0.json").write_text("{}")
    assert reproduce(settings=ReproduceConfig(out=str(out)), page=page) == 0
    assert capsys.readouterr().out == f"5 results in {page}\n"
    said = page.read_text()
    heads = [line for line in said.splitlines() if line.startswith("#")]
    assert heads == [
        "# Results",
        "## Table 1: insertion",
        "## Table 3: insertion",
        "## Table 3: insertion",
        "## Figure 5: insertion",
        "## Theta",
    ]
    assert said.index("--data coco") < said.index("--data voc")
    assert "![Insertion](results/fig5.png)" in said
    assert (tmp_path / "docs" / "results" / "fig5.png").is_file()


def test_a_page_of_nothing_is_refused(tmp_path):
    with pytest.raises(SessError, match="holds no results; make some with sess reproduce WHAT"):
        write_page(str(tmp_path / "no"), tmp_path / "page.md")
    with pytest.raises(SessError, match="say what to reproduce: table1, table2"):
        reproduce()

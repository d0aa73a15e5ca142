"""The benchmark of the search: rivals at equal cost, replays that are what runs do, the picture."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from jobs.bench import bench
from jobs.benchmarks import Setting
from jobs.benchmarks.photographs import grouped, photographs_of
from jobs.benchmarks.search import correlation
from jobs.benchmarks.search_plot import draw as draw_plot
from jobs.benchmarks.search_plot import main as plot
from jobs.benchmarks.searched import (
    COARSE,
    FEWER,
    RANDOM,
    RECALLS,
    SEARCH,
    Answers,
    Curves,
    answers_of,
    fewer,
    known,
    replay,
    rival,
)
from jobs.photos import PHOTOS
from sess_kernels import SESS, SESSConfig
from sess_kernels.errors import SessError
from sess_kernels.results import PatchScores
from sess_kernels.windows import grids

CONFIG = SESSConfig(scales=4, pre_filter_ratio=0.7).for_input(224)


def _answers(seed, n_classes=2):
    """Answers that nobody computed."""
    windows = grids(227, 300, CONFIG)
    total, draw = sum(map(len, windows)), np.random.default_rng(seed)
    scores = torch.from_numpy(draw.uniform(0.01, 0.9, (n_classes, total)).astype(np.float32))
    cams = draw.normal(size=(n_classes, total, 7, 7))
    return Answers(windows, PatchScores(tuple(range(n_classes)), scores), cams)


def test_a_rival_takes_the_coarsest_windows_or_random_ones():
    windows = grids(227, 227, CONFIG)  # 1 + 4 + 4 + 4 windows
    assert np.flatnonzero(rival(COARSE, windows, 6, 0)).tolist() == [0, 1, 2, 3, 4, 5]
    some, again, other = (rival(RANDOM, windows, 6, seed) for seed in (1, 1, 2))
    assert some.sum() == other.sum() == 6
    assert (some == again).all()
    assert (some != other).any()
    assert np.flatnonzero(rival(FEWER, windows, 6, 0)).tolist() == [0]
    assert [fewer(scales) for scales in (1, 3, 10)] == [1, 1, 4]


def test_every_window_has_recall_1_and_none_0(monkeypatch):
    for share in (1, 0):
        monkeypatch.setattr(
            "jobs.benchmarks.searched.replay",
            lambda answers, _, share=share: np.full(answers.scores.scores.shape[1], share == 1),
        )
        curves = Curves(CONFIG)
        curves.add(_answers(0))
        rows = [row for row in curves.rows() if row["rule"] != FEWER]
        assert len(rows) == 3 * len(RECALLS)
        for row in rows:
            assert row["share_of_windows"] == row["recall"] == row["recall_of_maps"] == share


def test_rivals_cost_what_the_search_costs_image_by_image():
    for seed in range(3):
        curves = Curves(CONFIG)
        curves.add(_answers(seed))
        rows = list(curves.rows())
        for aim in RECALLS:
            of_aim = {row["rule"]: row for row in rows if row["search_recall"] == aim}
            assert of_aim.keys() == {SEARCH, COARSE, RANDOM}
            assert len({row["share_of_windows"] for row in of_aim.values()}) == 1


def test_recall_of_images_and_of_maps_weigh_classes_differently(monkeypatch):
    first = _answers(0, n_classes=1)
    total = first.scores.scores.shape[1]
    best = first.scores.scores[0].argsort(descending=True)[: CONFIG.kept(total)].numpy()
    asked = np.isin(np.arange(total), best)
    opposite = torch.cat([-first.scores.scores] * 2)  # keeps none of these, twice
    second = replace(first, scores=PatchScores((1, 2), opposite), cams=np.repeat(first.cams, 2, 0))
    monkeypatch.setattr("jobs.benchmarks.searched.replay", lambda *_: asked)
    curves = Curves(CONFIG)
    curves.add(first)
    curves.add(second)
    row = next(iter(curves.rows()))
    assert (row["recall"], row["recall_of_maps"]) == (1 / 2, 1 / 3)


def test_a_replay_is_what_a_run_does(lite0, chelsea, draw):
    images, classes = [chelsea, draw(150, 140)], [[285, 281], None]
    config = replace(CONFIG, pre_filter_ratio=0.9)
    searched = replace(config, search=True, search_recall=0.5)
    every, some = (SESS(lite0, config=one) for one in (config, searched))
    answers = list(answers_of(every, images, classes))
    replays = [replay(one, some.config) for one in answers]
    assert 0 < replays[0].sum() < len(replays[0])
    scores = some.score_patches(images, classes)
    for one, asked, of_run in zip(answers, replays, scores, strict=True):
        found = known(one, asked)
        assert found.classes == of_run.classes
        assert torch.equal(found.scores, of_run.scores)  # -1 where it did not look


def test_correlation_of_maps():
    one = torch.rand(5, 6)
    assert correlation(one, 3 * one + 1) == pytest.approx(1)
    assert correlation(one, -one) == pytest.approx(-1)
    flat = torch.zeros(5, 6)
    assert (correlation(flat, flat), correlation(flat, one)) == (1, 0)


def test_bench_of_labelled_photographs_and_its_picture(draw, tmp_path, capsys):
    for number in range(2):
        Image.fromarray(draw(120, 160, number)).save(tmp_path / f"{number}.png")
    (tmp_path / "list.csv").write_text("image,label\n0.png,cat|dog\n1.png,dog\n")
    groups = {"cat": [281, 282, 285], "dog": [151, 152]}
    (tmp_path / "groups.json").write_text(json.dumps(groups))
    out = tmp_path / "found.json"
    table, groups_file = str(tmp_path / "list.csv"), str(tmp_path / "groups.json")
    given = {"source": table, "labels": "given", "class_groups": groups_file}
    assert bench(what=("search",), scales=3, images=2, out=out, **given) == 0
    timing, *rows = json.loads(out.read_text())["rows"]
    assert (timing["photographs"], timing["maps"]) == (2, 3)
    assert timing["ratio"]["n"] == timing["cpu_ratio"]["n"] == 1
    assert 0 < timing["share_of_forwards"] <= 1
    assert -1 <= timing["correlation"]["percentile_5"] <= timing["correlation"]["median"] <= 1
    assert timing["mean_absolute_difference"] >= 0
    assert len(rows) == 3 * len(RECALLS) + 1
    [default] = [row for row in rows if row["what"] == "search, search_recall 0.95, r = 0.9"]
    assert default["share_of_windows"] == pytest.approx(timing["share_of_forwards"])
    assert "of the patches to keep" in " ".join(capsys.readouterr().out.split())
    plot([f"two photographs={out}", str(out), "--out", str(tmp_path / "found.png")])
    with Image.open(tmp_path / "found.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 2 * picture.height


def test_without_a_source_the_photographs_of_the_demo_are_searched():
    setting = Setting()
    found = photographs_of(setting, grouped(setting))
    assert {one.name: one.classes for one in found} == {
        name: [index] for name, index in PHOTOS.items()
    }
    for one in found:
        pixels = one.read()
        assert (pixels.dtype, pixels.ndim, pixels.shape[2]) == (np.uint8, 3, 3)
    with pytest.raises(SessError, match="give them with --source"):
        photographs_of(replace(setting, class_groups="groups.json"), SESS().backbone)


def test_every_panel_of_the_picture_shows_all_its_points(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    files = {}
    for share in (0.3, 0.6):  # the later one needs more room
        rows = [
            {"rule": SEARCH, "share_of_windows": at, "recall": 1.0, "search_recall": at}
            for at in (0.1, share)
        ]
        files[str(share)] = tmp_path / f"{share}.json"
        files[str(share)].write_text(json.dumps({"rows": rows}))
    draw_plot(files, tmp_path / "unused.png")
    for panel, share in zip(drawn[0].axes, (0.3, 0.6), strict=True):
        left, right = panel.get_xlim()
        assert left == 0
        assert share < right < 1
        assert sorted(one.get_text() for one in panel.texts) == ["0.1", str(share)]


def test_a_file_without_results_is_told(tmp_path):
    (tmp_path / "other.json").write_text('{"rows": [{"what": "memory"}]}')
    with pytest.raises(SessError, match=r"other\.json holds no result of sess bench"):
        draw_plot({"other": tmp_path / "other.json"}, tmp_path / "other.png")

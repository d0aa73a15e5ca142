"""Input that attacks: names that would leave OUT, images that would fill the memory."""

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import RunConfig, plan, read_maps, run
from pipeline.files import Folder
from pipeline.read import read_rows
from sess_kernels import SessError

IDS = [
    "../up.jpg",
    "../../../../../../tmp/far.jpg",
    "/etc/absolute.jpg",
    "//double",
    "a//b",
    "a/./b",
    "..",
    ".",
    "/",
    "a",
    "A",
    "a/0.npy",
    "a/1.npy",
    "back\\slash\\..\\x",
    "new\nline",
    "tab\tand space ",
    "%2E%2E/x",
    "über/猫.jpg",
    "u\u0308ber/猫.jpg",
    "x" * 300,
    "x" * 299 + "y",
    "d/" * 2500,
    "CON",
    "$(touch pwned); `x`",
    "C:\\windows",
]


@pytest.fixture
def settings(tiny_backbone):
    return {
        "backbone": tiny_backbone,
        "labels": "predicted",
        "top_k": 2,
        "scales": 1,
        "engine": "local",
        "map_dtype": "float32",
        "max_errors": "100%",
    }


@pytest.mark.parametrize("ignores_case", [False, True])
def test_ids_that_would_leave_out(tmp_path, draw, settings, monkeypatch, ignores_case):
    monkeypatch.setattr(Folder, "ignores_case", lambda self: ignores_case)
    root = tmp_path / "here"
    (root / "data").mkdir(parents=True)
    for i in range(len(IDS)):
        Image.fromarray(draw(20 + i, 30, seed=i)).save(root / "data" / f"{i}.png")
    rows = [{"image": f"{i}.png", "image_id": one} for i, one in enumerate(IDS)]
    (root / "data" / "t.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    before = set(tmp_path.rglob("*"))
    monkeypatch.chdir(root)
    out = root / "deep" / "out"
    summary = run("data/t.jsonl", out, RunConfig(format="parquet,npy", **settings))
    assert (summary.images, summary.failed) == (len(IDS), 0)
    new = set(tmp_path.rglob("*")) - before
    assert {path for path in new if out not in (path, *path.parents)} == {root / "deep"}
    assert not Path("/etc/absolute.jpg").exists()
    assert not Path("/tmp/far.jpg").exists()
    stored = [row["image_id"] for row in read_rows(out)]
    assert sorted(stored) == sorted(IDS)
    paths = [target["map"]["path"] for row in read_rows(out) for target in row["targets"]]
    files = {str(path.relative_to(out)) for path in (out / "npy").rglob("*.npy") if path.is_file()}
    assert len({path.lower() if ignores_case else path for path in paths}) == 2 * len(IDS)
    assert set(paths) == files
    of = {(record.image_id, record.class_index): record.map for record in read_maps(out)}
    for row in read_rows(out):
        for target in row["targets"]:
            map_ = of[row["image_id"], target["class_index"]]
            assert map_.shape == (20 + IDS.index(row["image_id"]), 30)
            np.testing.assert_array_equal(np.load(out / target["map"]["path"]), map_)


def test_nul_in_an_id_is_refused(tmp_path, settings):
    rows = [{"image": "a.png", "image_id": "fine"}, {"image": "b.png", "image_id": "b\0.png"}]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(SessError, match=r"^row 1: the image id 'b\\x00.png' holds NUL; remove it"):
        run(str(tmp_path / "t.jsonl"), tmp_path / "out", RunConfig(**settings))


def test_links_in_a_folder(tmp_path, draw, settings):
    """A link to a file is that file, wherever it lies; one to a folder or nowhere is left out."""
    outside, folder = tmp_path / "outside", tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    outside.mkdir()
    Image.fromarray(draw(20, 30)).save(outside / "o.png")
    (folder / "link.png").symlink_to(outside / "o.png")
    (folder / "gone.png").symlink_to(outside / "nothing.png")
    (folder / "self.png").symlink_to(folder / "self.png")
    (folder / "loop").symlink_to(folder)
    (folder / "sub" / "loop").symlink_to(folder)
    (folder / "away").symlink_to(outside)
    run(str(folder), tmp_path / "out", RunConfig(**settings))
    [row] = read_rows(tmp_path / "out")
    assert (row["image_id"], row["status"]) == ("link.png", "ok")


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(width, height, *chunks, pixels=None):
    """A grey PNG that claims a size, whatever it holds."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *(chunk(*one) for one in chunks)]
    parts += [chunk(b"IDAT", pixels or zlib.compress(bytes(72))), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


ATTACK = """
import json, resource, sys
from pipeline import RunConfig, run

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

good, bad, out, settings = sys.argv[1:]
config = RunConfig(**json.loads(settings))
run(good, out + "-good", config)
before = peak()
run(bad, out, config)
print(peak() - before)
"""


@pytest.mark.slow
def test_images_that_would_fill_the_memory(tmp_path, draw, settings):
    good, bad, out = (tmp_path / name for name in ("good", "bad", "out"))
    good.mkdir()
    bad.mkdir()
    Image.fromarray(draw(300, 400)).save(good / "good.png")
    Image.fromarray(draw(300, 400)).save(bad / "good.png")
    much = zlib.compress(bytes(300_000_000), 1)
    (bad / "bomb.png").write_bytes(png(50_000, 50_000, pixels=much))
    (bad / "text.png").write_bytes(png(8, 8, (b"zTXt", b"note\0\0" + much)))
    (bad / "profile.png").write_bytes(png(8, 8, (b"iCCP", b"p\0\0" + much)))
    (bad / "more.png").write_bytes(png(8, 8, pixels=much))
    frames = [Image.fromarray(draw(50, 60, seed=i)) for i in range(40)]
    for ending in ("gif", "webp"):
        frames[0].save(bad / f"moves.{ending}", save_all=True, append_images=frames[1:])
    Image.new("L", (60_000, 1)).save(bad / "strip.png")
    Image.new("L", (1, 60_000)).save(bad / "column.png")
    (bad / "cut.png").write_bytes((good / "good.png").read_bytes()[:2000])
    (bad / "canvas.gif").write_bytes(b"GIF89a" + b"\xff" * 4 + b"\0\0\0" + b"," + bytes(9))
    done = subprocess.run(
        [sys.executable, "-c", ATTACK, good, bad, out, json.dumps(settings)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    grown = float(done.stdout)
    assert grown < 600, grown
    rows = {row["image_id"]: row for row in read_rows(out)}
    passed = {name for name, row in rows.items() if row["status"] == "ok"}
    assert len(rows) == 11
    assert passed >= {"good.png", "moves.gif", "moves.webp"}
    assert passed.isdisjoint({"bomb.png", "strip.png", "column.png", "cut.png", "canvas.gif"})
    assert "has 2500000000 pixels, more than the limit of 268435456" in rows["bomb.png"]["error"]
    assert "raise --max-pixels or leave it out" in rows["bomb.png"]["error"]
    assert "more than the limit" in rows["strip.png"]["error"]
    assert (rows["moves.gif"]["height"], rows["moves.gif"]["width"]) == (50, 60)
    assert all("\n" not in (row["error"] or "") for row in rows.values())


def test_a_bomb_that_shows_up_after_planning(tmp_path, draw, settings):
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for name in "ab":
        Image.fromarray(draw(20, 30)).save(folder / f"{name}.png")
    config = RunConfig(**settings)
    assert plan(str(folder), out, config).n_failed == 0
    (folder / "a.png").write_bytes(png(50_000, 50_000))
    assert run(str(folder), out, config).failed == 1
    rows = {row["image_id"]: row for row in read_rows(out)}
    assert "more than the limit of 268435456; raise --max-pixels" in rows["a.png"]["error"]
    assert rows["b.png"]["status"] == "ok"


def test_the_limit_can_be_raised(tmp_path, draw, settings):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(draw(100, 120)).save(folder / "a.png")
    found = {}
    for limit in (11_999, 12_000):
        run(str(folder), tmp_path / str(limit), RunConfig(max_pixels=limit, **settings))
        [found[limit]] = read_rows(tmp_path / str(limit))
    assert "a.png has 12000 pixels, more than the limit of 11999" in found[11_999]["error"]
    assert found[12_000]["status"] == "ok"

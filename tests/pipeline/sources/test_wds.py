import json
import re
import tarfile

import numpy as np
import pyarrow as pa
import pytest

from pipeline import RunConfig
from pipeline.images import read_rgb
from pipeline.planning import Dataset
from pipeline.sources import Listed
from pipeline.sources.wds import read_wds
from sess_kernels import SessError

webdataset = pytest.importorskip("webdataset")


def rows_of(pattern, listed=None):
    return pa.concat_tables(read_wds(str(pattern), listed or Listed())).to_pylist()


@pytest.mark.parametrize("labels", ["cls", "json"])
def test_samples_are_those_of_webdataset(draw, tmp_path, labels):
    pattern = str(tmp_path / "train-%03d.tar")
    with webdataset.ShardWriter(pattern, maxcount=7, verbose=0) as sink:
        for number in range(20):
            sample = {"__key__": f"n{number // 5}/img_{number:03}"}
            sample["png"] = draw(20 + number, 30, seed=number)
            label = {"cls": number % 4, "json": {"label": [number % 4, "cat"], "caption": "x"}}
            sink.write(sample | {labels: label[labels], "txt": "not a label"})
    shards = str(tmp_path / "train-{000..002}.tar")
    found = rows_of(shards)
    images = webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode("rgb8")
    expected = list(images)
    assert len(found) == len(expected) == 20
    for row, sample in zip(found, expected, strict=True):
        shard = sample["__url__"].rpartition("/")[2].removesuffix(".tar")
        assert row["image_id"] == f"{shard}/{sample['__key__']}.png"
        np.testing.assert_array_equal(read_rgb(row["uri"]), sample["png"])
        told = [sample["cls"]] if labels == "cls" else sample["json"]["label"]
        assert row["labels"] == [str(label) for label in told]


def test_patterns(tar, png, tmp_path):
    for name in ("a/x-00.tar", "a/x-01.tar", "b/x-00.tar", "b/y-[1].tar"):
        tar(name, [("k.png", png)])
    (tmp_path / "a" / "notes.txt").touch()

    def ids(pattern):
        return [row["image_id"] for row in rows_of(tmp_path / pattern)]

    assert ids("a") == ids("a/x-{00..01}.tar") == ids("a/*.tar") == ["x-00/k.png", "x-01/k.png"]
    assert ids("{a,b}/x-00.tar") == ids("*/x-00.tar") == ["a/x-00/k.png", "b/x-00/k.png"]
    assert ids("*/{y,x}-*.tar") == [f"{n}/k.png" for n in ("b/y-[1]", "a/x-00", "a/x-01", "b/x-00")]
    assert ids("b/y-[1].tar") == ["y-[1]/k.png"]  # it exists by that name
    assert ids("a/x-0[1-9].tar") == ["x-01/k.png"]


def test_labels(tar, png):
    samples = [
        ("0.png", png),
        ("1.png", png),
        ("1.cls", b" 7\n"),
        ("1.json", b'{"label": 3}'),
        ("2.cls.txt", "müsli | 4".encode()),
        ("2.png", png),
        ("3.png", png),
        ("3.json", b'{"labels": ["cat", 2, null, -1]}'),
        ("4.png", png),
        ("4.json", b'{"label": null, "cls": "dog"}'),
        ("5.png", png),
        ("5.cls", b"-1"),
        ("6.png", png),
        ("6.json", b'["cat"]'),
    ]
    found = [row["labels"] for row in rows_of(tar("a.tar", samples))]
    assert found == [None, ["7"], ["müsli", "4"], ["cat", "2"], ["dog"], [], []]


def test_whether_there_are_labels_is_seen(tar, png, tiny_backbone):
    config = RunConfig(backbone=tiny_backbone)
    without = tar("without.tar", [(f"{n}.png", png) for n in range(3)])
    assert {row["labels"] is None for row in rows_of(without)} == {True}
    with pytest.raises(SessError, match=r"without\.tar carries no labels; run with --labels pre"):
        list(Dataset(f"wds:{without}", config).tables())
    some = tar("some.tar", [("0.png", png), ("1.png", png), ("1.cls", b"3"), ("2.png", png)])
    listed = Listed()
    [kept] = Dataset(f"wds:{some}", config).tables(listed)
    assert (kept["image_id"].to_pylist(), listed.unlabelled) == (["some/1.png"], 2)


def test_what_is_odd_in_a_tar_is_left_out_and_told(tar, png, draw, encode):
    jpeg = encode(draw(40, 50), "JPEG")
    files = [
        ("text.txt", b"no image"),
        ("two.png", png),
        ("two.jpg", jpeg),
        ("mask.seg.png", png),
        ("mask.jpg", jpeg),
        ("again.png", png),
        ("b.png", png),
        ("again.png", png),
        ("b.cls", b"1"),
        ("c.cls", b"\xff"),
        ("c.png", png),
        ("d.png", png),
        ("d.json", b"{"),
        ("e.json", json.dumps({"label": [0.5]}).encode()),
        ("e.png", png),
        ("f.json", b'{"label": "\\ud800"}'),
        ("f.png", png),
        ("no key", b""),
        ("._g.png", b"of a Mac"),
        ("./h.PNG", png),
    ]
    listed = Listed()
    found = rows_of(tar("a.tar", files), listed)
    names = ["two.png", "mask.jpg", "again.png", "b.png", *"cdef", "h.PNG"]
    names = [name if "." in name else f"{name}.png" for name in names]
    assert [row["image_id"] for row in found] == [f"a/{name}" for name in names]
    assert [read_rgb(row["uri"]).shape[0] for row in found] == [20, 40, *[20] * 7]
    assert listed.duplicates == 1
    said = [
        "sample 'text' has no image; it is left out",
        "sample 'two' has a second image .jpg; it is left out",
        "sample 'b' has no image; the files of a sample must lie side by side; it is left out",
        "c.cls: the labels are left out: .*utf-8",
        "d.json: the labels are left out: ",
        "e.json: the labels are left out: a label is text or a number, not 0.5",
        "f.json: the labels are left out: .*surrogates",
    ]
    assert listed.n_faults == len(said)
    for fault, words in zip(listed.faults, said, strict=True):
        assert re.search(words, fault)
        assert fault.startswith(found[0]["uri"].partition("#")[0])


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_names_of_any_length_and_kind(tar, png, kind, tmp_path):
    long = "d" * 150 + "/" + "n" * 120
    files = [(f"{long}.png", png), ("../../out.png", png), ("/abs.png", png), ("ü\udcff.png", png)]
    path = tar("a.tar", files, format=kind, errors="surrogateescape")
    with tarfile.open(path, "a") as made:
        for type_, name in ((tarfile.SYMTYPE, "link.png"), (tarfile.DIRTYPE, "dir.png")):
            about = tarfile.TarInfo(name)
            about.type, about.linkname = type_, "/etc/passwd"
            made.addfile(about)
        made.add(__file__, "last.txt")
    listed = Listed()
    ids = [row["image_id"] for row in rows_of(path, listed)]
    assert ids[:3] == [f"a/{long}.png", "a/../../out.png", "a//abs.png"]
    assert (len(ids), ids[3][:3], ids[3][-4:]) == (4, "a/ü", ".png")
    assert listed.n_faults == 1  # last.txt


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("none.tar", "holds no image: .*none.tar does not exist"),
        ("x-{0..3}.tar", "holds no image: .*x-0.tar does not exist"),
        ("*.tar", "holds no image; check the path or the pattern"),
        ("x-{0.tar", r"the braces do not close; write \{0000"),
        ("a.tar.gz", "a.tar.gz is compressed, .*; decompress it"),
        ("b.zip", "b.zip is no .tar file"),
        (".", "holds no image"),
    ],
)
def test_patterns_that_name_no_image(tmp_path, pattern, said):
    (tmp_path / "a.tar.gz").touch()
    (tmp_path / "b.zip").touch()
    with pytest.raises(SessError, match=said):
        rows_of(tmp_path / pattern)

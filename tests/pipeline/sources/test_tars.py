"""Tars that are damaged, cut short or far away."""

import re
import tarfile

import pyarrow as pa
import pytest

from pipeline.files import Folder
from pipeline.images import read_rgb
from pipeline.sources import Listed
from pipeline.sources.tars import _Ahead
from pipeline.sources.wds import read_wds
from sess_kernels import SessError


def rows_of(pattern, listed=None):
    return pa.concat_tables(read_wds(str(pattern), listed or Listed())).to_pylist()


def test_a_tar_cut_short_anywhere(tar, png, tmp_path):
    whole = tar(
        "whole.tar",
        [
            (f"{n}.{kind}", png if kind == "png" else b"4")
            for n in range(3)
            for kind in ("png", "cls")
        ],
    )
    content = whole.read_bytes()
    with tarfile.open(whole) as made:
        images = [one for one in made if one.name.endswith("png")]
        end = made.offset
    tar("z.tar", [("k.png", png), ("k.cls", b"4")])
    ends = [one.offset_data + one.size for one in images]
    for length in [*range(512, len(content), 512), *(n + 7 for n in range(512, end, 512))]:
        (tmp_path / "a.tar").write_bytes(content[:length])
        listed = Listed()
        found = rows_of(tmp_path / "{a,z}.tar", listed)
        n_whole = sum(length >= one for one in ends)
        ids = [*(f"a/{n}.png" for n in range(n_whole)), "z/k.png"]
        assert [row["image_id"] for row in found] == ids
        assert all(read_rgb(row["uri"]).shape == (20, 30, 3) for row in found)
        cut = length < end + 512
        assert listed.n_faults == cut
        assert not cut or f"{tmp_path}/a.tar: byte " in listed.faults[0]


def test_bytes_that_are_no_tar(tar, png, tmp_path):
    good = tar("good.tar", [("k.png", png)])
    with tarfile.open(tmp_path / "gz.tar", "w:gz") as made:
        made.add(good, "k.png")
    damaged = bytearray(tar("d.tar", [(f"{n}.png", png) for n in range(3)]).read_bytes())
    damaged[512 + (len(png) + 511) // 512 * 512] ^= 255  # the second header
    (tmp_path / "d.tar").write_bytes(damaged)
    (tmp_path / "none.tar").touch()
    listed = Listed()
    found = rows_of(tmp_path / "{gz,d,none,gone,good}.tar", listed)
    assert [row["image_id"] for row in found] == ["d/0.png", "good/k.png"]
    said = ["gz.tar: ", "d.tar: byte [0-9]+: there is no header", "none.tar: ", "gone.tar does not"]
    for fault, words in zip(listed.faults, said, strict=True):
        assert re.search(words, fault)
    assert "compressed" in listed.faults[0]


def test_headers_that_lead_back(tmp_path, png):
    about = tarfile.TarInfo("0.png")
    about.pax_headers = {"size": "-2048"}
    (tmp_path / "a.tar").write_bytes(about.tobuf(tarfile.PAX_FORMAT) + png + bytes(4096))
    with pytest.raises(SessError, match=r"a\.tar"):
        rows_of(tmp_path / "a.tar")


@pytest.mark.parametrize(("size", "requests", "share"), [(3_000, 8, 1.01), (3_000_000, 20, 0.05)])
def test_requests_of_a_store(store, tar, monkeypatch, size, requests, share):
    """Small images are read through in few requests, large ones passed over."""
    n_images = 400 if size < 10**5 else 8
    files = [
        (f"{n}.{kind}", bytes(size) if kind == "png" else b"1")
        for n in range(n_images)
        for kind in ("cls", "png")
    ]
    content = tar("a.tar", files).read_bytes()
    Folder.of("s3://bucket/set").write("a-0.tar", content)
    store.reset()
    read = []
    fetch = _Ahead._fetch

    def counted(self, end):
        fetch(self, end)
        read.append(len(self._held))

    monkeypatch.setattr(_Ahead, "_fetch", counted)
    found = rows_of("s3://bucket/set/a-{0..0}.tar")
    assert found[-1]["image_id"] == f"a-0/{n_images - 1}.png"
    assert found[-1]["labels"] == ["1"]
    assert len(store.requests) <= requests
    assert sum(read) <= share * len(content)

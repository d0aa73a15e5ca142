"""Files on a mounted disk, in an S3 store and in a file system of fsspec: the same to all."""

import json
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.files import Folder
from pipeline.sinks import decode_map, encode_map
from pipeline.stores import open_file, read_bytes, retrying
from sess_kernels import SessError


@pytest.fixture(params=["local", "s3", "memory"])
def folder(request, tmp_path):
    if request.param == "s3":
        request.getfixturevalue("store")
    roots = {"local": str(tmp_path), "s3": "s3://bucket", "memory": f"memory://{uuid4().hex}"}
    return Folder.of(f"{roots[request.param]}/run")


def test_files_come_and_go(folder):
    folder.create()
    assert folder.is_empty()
    assert folder.names() == []
    for name, content in (("b", b"2"), ("a", b"1"), ("sub/c", b"3")):
        folder.write(name, content)
    folder.write("a", b"one")  # replaces
    assert folder.names() == ["a", "b"]
    assert (folder / "sub").names() == ["c"]
    assert [folder.exists(name) for name in ("a", "c", "sub", "sub/c")] == [
        True,
        False,
        False,
        True,
    ]
    assert folder.read("a") == read_bytes(f"{folder.uri}/a") == b"one"
    assert not folder.is_empty()
    folder.remove("b")
    folder.remove("b")  # gone already
    assert folder.names() == ["a"]
    with pytest.raises(FileNotFoundError):
        folder.read("b")
    folder.delete()
    folder.delete()
    assert folder.is_empty()
    assert (folder / "sub").names() == []


def test_files_change_their_names(folder):
    folder.create()
    folder.write("a", b"1")
    folder.write("b", b"2")
    folder.rename("a", "b")
    assert (folder.names(), folder.read("b")) == (["b"], b"1")
    folder.move("b", folder / "sub")
    assert folder.names() == []
    assert (folder / "sub").read("b") == b"1"
    (folder / "sub").rename("gone", "b")  # as one whose answer was lost does it again
    assert (folder / "sub").read("b") == b"1"
    with pytest.raises(OSError, match="gone"):
        (folder / "sub").rename("gone", "c")


def test_a_file_is_whole_or_not_there(folder):
    folder.create()

    def break_off():
        with folder.writing("a") as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert folder.names() == []
    assert folder.is_empty()
    with folder.writing("deep/a") as file:
        file.write(b"whole")
    assert (folder / "deep").read("a") == b"whole"
    assert (folder / "deep").names() == ["a"]


def test_parts_of_a_file(folder):
    content = np.random.default_rng(0).bytes(100_000)
    folder.create()
    folder.write("a.bin", content)
    with open_file(f"{folder.uri}/a.bin") as file:
        assert file.size() == 100_000
        file.seek(90_000)
        assert file.read(4) == content[90_000:90_004]
        assert file.tell() == 90_004
        file.seek(-6, 2)
        assert file.read() == content[-6:]
        assert file.read(1) == b""
        file.seek(0)
        assert file.read() == content
    table = pa.table({"row": range(1000), "text": [f"{i}" * 50 for i in range(1000)]})
    with folder.writing("t.parquet") as file:
        pq.write_table(table, file, row_group_size=100)
    with open_file(f"{folder.uri}/t.parquet") as file:
        assert pq.read_table(file).equals(table)


def test_relative_paths_and_uris(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Folder.of("run/../out").uri == str(tmp_path / "out")
    assert Folder.of("file:///data/out/").uri == "/data/out"
    assert Folder.of("s3://bucket/out/").uri == "s3://bucket/out"
    with pytest.raises(SessError, match="nonsense://x cannot be opened: Protocol not known"):
        _ = Folder.of("nonsense://x").files


@pytest.mark.parametrize(
    ("text", "tries"),
    [
        ("AWS Error SLOW_DOWN during PutObject operation", 3),
        ("AWS Error UNKNOWN (HTTP status 500) during HeadObject operation", 3),
        ("AWS Error UNKNOWN (HTTP status 429) during HeadObject operation", 3),
        ("AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 28", 3),
        ("AWS Error UNKNOWN (HTTP status 301) during HeadObject operation", 1),
        ("AWS Error ACCESS_DENIED during HeadObject operation", 1),
        ("AWS Error NO_SUCH_BUCKET during PutObject operation", 1),
        ("AWS Error NO_SUCH_KEY during CopyObject operation", 1),
        ("8 of 16 bytes came", 3),
    ],
)
def test_what_may_pass_is_tried_again(text, tries, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    asked = []

    def ask():
        asked.append(1)
        if len(asked) < 3:
            raise OSError(text)

    if tries == 1:
        with pytest.raises(OSError, match="AWS Error"):
            retrying(ask)
    else:
        retrying(ask)
    assert len(asked) == tries


@pytest.mark.parametrize("number", [2, 13, 28])  # no such file, no rights, no space
def test_what_will_not_pass_is_told_at_once(number):
    asked = []

    def ask():
        asked.append(1)
        raise OSError(number, "no")

    with pytest.raises(OSError, match="no"):
        retrying(ask)
    assert len(asked) == 1


def test_json_that_is_replaced_while_it_is_read(tmp_path, monkeypatch):
    folder = Folder.of(tmp_path)
    answers = [b'{"beat": 1', b"", b'{"beat": 10}']
    monkeypatch.setattr(Folder, "read", lambda self, name: answers.pop(0))
    assert folder.read_json("driver.json") == {"beat": 10}
    answers = [b"{"] * 9
    with pytest.raises(json.JSONDecodeError):
        folder.read_json("driver.json")
    assert len(answers) == 6


@pytest.mark.parametrize(
    ("dtype", "step"),
    [("uint8", 1 / 255), ("uint16", 1 / 65535), ("float16", 1e-3), ("float32", 0)],
)
def test_maps_survive_their_encoding(dtype, step):
    map_ = np.random.default_rng(0).random((7, 11), np.float32)
    map_[0, 0], map_[0, 1] = 0, 1
    found = decode_map(encode_map(map_, dtype), dtype, [7, 11])
    assert found.dtype == np.float32
    assert np.abs(found - map_).max() <= step / 2 + 1e-7
    assert (found[0, 0], found[0, 1]) == (0, 1)

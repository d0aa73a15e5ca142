"""What ``SaliencyDataset`` keeps on this machine, and what it says if it cannot."""

import errno
import os
import pickle
import time

import pytest
from PIL import Image

from pipeline import SaliencyDataset, retry
from pipeline.files import Folder
from sess_kernels.errors import SessError


def test_a_run_that_grows_and_one_that_is_copied_already(
    samples_agree, make, photos, cache, draw, tmp_path
):
    (photos / "0.png").write_bytes(b"no image")
    out = make()
    before = SaliencyDataset(out)
    assert len(before) == 8
    [index] = cache.glob("*/*.arrow")
    copied = index.stat().st_ino
    assert len(SaliencyDataset(out)) == 8
    assert [one.stat().st_ino for one in cache.glob("*/*.arrow")] == [copied]

    Image.fromarray(draw(60, 90)).save(photos / "0.png")
    retry(tmp_path / "out")
    samples_agree(list(SaliencyDataset(out)), out)
    assert len(SaliencyDataset(out)) == 10
    assert len(list(before)) == 8  # what is open stays as it was
    assert len(list(cache.glob("*/*.arrow"))) == 2

    long_ago = time.time() - 2 * 86_400
    other = cache / ("0" * 32) / f"{'1' * 32}.bin"
    other.parent.mkdir()
    other.touch()
    for path in (*cache.glob("*/*.arrow"), *cache.glob("*/*.bin")):
        os.utime(path, (long_ago, long_ago))
    run_file = next((out / "maps").iterdir())
    os.utime(run_file)  # as a rewritten file has it
    samples_agree(list(SaliencyDataset(out)), out)
    assert len(list(cache.glob("*/*.arrow"))) == 1  # of this run the old ones went
    assert other.exists()  # of another one a month must pass


def test_a_cache_of_ones_own_and_one_that_is_gone(make, tmp_path, cache):
    own = tmp_path / "disk"
    dataset = SaliencyDataset(make(), cache=own)
    assert not cache.exists()
    for path in own.glob("*/*/*"):
        path.unlink()
    with pytest.raises(SessError, match="is gone: the run has changed since"):
        pickle.loads(pickle.dumps(dataset))[0]


def test_no_room_on_the_disk(make, monkeypatch, cache):
    out = make()

    def full(copy, rows):
        copy.file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.mapped._Copy.append", full)
        with pytest.raises(SessError, match=r"no room for the maps .* cache=FOLDER on another"):
            SaliencyDataset(out)
    assert not list(cache.glob("*/*"))
    assert len(SaliencyDataset(out)) == 10


def test_maps_in_a_store(samples_agree, make, store, tmp_path):
    for kind in ("parquet", "npy"):
        out = make(kind, format=kind)
        there = Folder(f"s3://bucket/{kind}")
        for path in out.rglob("*"):
            if path.is_file():
                there.write(str(path.relative_to(out)), path.read_bytes())
        dataset = SaliencyDataset(there.uri)
        store.reset()
        samples_agree(list(dataset), out)
        assert not store.requests  # it has been fetched once


def test_bad_input(make, tmp_path, photos):
    for arguments, said in (
        ({"per": "class"}, "unknown per 'class'"),
        ({"rank": 2, "world_size": 2}, "rank must be from 0 to 1 but got 2"),
        ({"rank": 2}, "rank and world_size go together"),
    ):
        with pytest.raises(SessError, match=said):
            SaliencyDataset(tmp_path, **arguments)
    with pytest.raises(SessError, match="holds no maps; is it the --out"):
        SaliencyDataset(tmp_path)
    out = make(format="npy")
    dataset = SaliencyDataset(out)
    next((out / "npy").rglob("*.npy")).write_bytes(b"no array")
    with pytest.raises(SessError, match="a map cannot be read from"):
        list(dataset)
    for photo in photos.iterdir():
        photo.write_bytes(b"no image")
    with pytest.raises(SessError, match="holds no maps yet: all of its images failed"):
        SaliencyDataset(make("failed", max_errors="100%"))

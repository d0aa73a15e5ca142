"""``SaliencyDataset``: its samples are those of ``read_maps``, in any order and any process."""

import errno
import os
import pickle
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pipeline import RunConfig, SaliencyDataset, read_maps, retry, run
from pipeline.files import Folder
from pipeline.images import read_rgb
from pipeline.read import read_images, read_rows
from sess_kernels.errors import SessError

SIZES = ((60, 90), (90, 60), (48, 48), (70, 80), (33, 95))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sess" / "maps-of-runs"


@pytest.fixture
def photos(tmp_path, draw):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, size in enumerate(SIZES):
        Image.fromarray(draw(*size, seed=number)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def make(photos, tmp_path, tiny_backbone, monkeypatch):
    monkeypatch.setattr("pipeline.shards.MIN_SHARD_PATCHES", 4)

    def made(name="out", **settings):
        settings = {"scales": 2, "labels": "predicted", "top_k": 2, "workers": 1} | settings
        config = RunConfig(backbone=tiny_backbone, engine="local", **settings)
        run(str(photos), tmp_path / name, config)
        return tmp_path / name

    return made


def expected(out):
    return {(one.image_id, one.class_index): one for one in read_maps(out)}


def name(sample):
    return sample["image_id"], int(sample["class_index"])


def agree(samples, out):
    known = expected(out)
    assert sorted(map(name, samples)) == sorted(known)
    for sample in samples:
        record = known[name(sample)]
        assert (sample["class_name"], sample["score"]) == (record.class_name, record.score)
        assert sample["map"].dtype == torch.float32
        np.testing.assert_array_equal(sample["map"].numpy(), record.map)


KINDS = [
    {},
    {"map_dtype": "uint16"},
    {"map_dtype": "float16"},
    {"map_dtype": "float32", "map_stride": 4},
    {"map_stride": 3, "keep_patches": True},
    {"format": "npy"},
    {"format": "npy", "npy_layout": "psa"},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_samples_are_those_of_read_maps(make, kind):
    out = make(**kind)
    dataset = SaliencyDataset(out)
    assert len(dataset) == 10
    agree([dataset[number] for number in torch.randperm(10).tolist()], out)
    assert dataset[-1]["image_id"] == dataset[9]["image_id"]
    for beyond in (10, -11):
        with pytest.raises(IndexError):
            dataset[beyond]

    whole = SaliencyDataset(out, as_uint8=True)
    for sample in whole:
        assert sample["map"].dtype == torch.uint8
        of_record = expected(out)[name(sample)].map
        np.testing.assert_array_equal(sample["map"].numpy(), (of_record * 255).round())


def test_the_order_is_that_of_the_plan(make, monkeypatch):
    out = make()
    rows = {row["image_id"]: row["row"] for row in read_rows(out)}
    numbers = [rows[sample["image_id"]] for sample in SaliencyDataset(out)]
    assert numbers == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize(
    ("context", "workers"), [("fork", 2), pytest.param("spawn", 1, marks=pytest.mark.slow)]
)
def test_workers_see_every_map_once(make, context, workers):
    out = make()
    loader = DataLoader(
        SaliencyDataset(out),
        3,
        shuffle=True,
        num_workers=workers,
        collate_fn=list,
        multiprocessing_context=context,
    )
    agree([sample for batch in loader for sample in batch], out)


def test_a_pickle_is_small_and_opens_its_own_files(make):
    out = make()
    dataset = SaliencyDataset(out)
    dataset[0]
    content = pickle.dumps(dataset)
    assert len(content) < 2000
    agree(list(pickle.loads(content)), out)


def test_per_image_with_the_photograph(make):
    out = make(map_stride=2)
    dataset = SaliencyDataset(out, per="image", images=True)
    images = {image.image_id: image for image in read_images(out)}
    assert len(dataset) == len(images) == 5
    for sample in dataset:
        image = images[sample["image_id"]]
        maps = np.stack([record.map for record in image.records])
        np.testing.assert_array_equal(sample["map"].numpy(), maps)
        assert sample["class_index"].tolist() == [one.class_index for one in image.records]
        assert sample["class_name"] == [one.class_name for one in image.records]
        assert sample["score"].tolist() == [one.score for one in image.records]
        assert sample["image"].dtype == torch.uint8
        np.testing.assert_array_equal(
            sample["image"].numpy().transpose(1, 2, 0), read_rgb(image.uri)
        )


def test_a_photograph_that_is_gone(make, photos):
    dataset = SaliencyDataset(make(), images=True)
    (photos / "0.png").unlink()
    with pytest.raises(SessError, match=r"the photograph .*0\.png cannot be read"):
        list(dataset)


def test_transform_gives_the_sample(make):
    def resized(sample):
        map_ = sample["map"][None, None]
        return torch.nn.functional.interpolate(map_, (8, 8))[0, 0], sample["class_index"]

    maps, classes = next(iter(DataLoader(SaliencyDataset(make(), resized), 10)))
    assert (maps.shape, classes.dtype) == ((10, 8, 8), torch.int64)


def test_ranks_share_all_samples(make, monkeypatch):
    out = make()
    shares = [SaliencyDataset(out, rank=rank, world_size=4) for rank in range(4)]
    assert [len(one) for one in shares] == [3, 3, 2, 2]
    agree([sample for share in shares for sample in share], out)
    equal = [SaliencyDataset(out, rank=rank, world_size=4, equal=True) for rank in range(4)]
    assert [len(one) for one in equal] == [2, 2, 2, 2]
    assert len({name(sample) for share in equal for sample in share}) == 8

    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 4)
    assert [name(one) for one in SaliencyDataset(out)] == [name(one) for one in shares[1]]
    assert len(SaliencyDataset(out, rank=0, world_size=1)) == 10


def test_a_run_that_grows_and_one_that_is_copied_already(make, photos, cache, draw, tmp_path):
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
    agree(list(SaliencyDataset(out)), out)
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
    agree(list(SaliencyDataset(out)), out)
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


def test_maps_in_a_store(make, store, tmp_path):
    for kind in ("parquet", "npy"):
        out = make(kind, format=kind)
        there = Folder(f"s3://bucket/{kind}")
        for path in out.rglob("*"):
            if path.is_file():
                there.write(str(path.relative_to(out)), path.read_bytes())
        dataset = SaliencyDataset(there.uri)
        store.reset()
        agree(list(dataset), out)
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

"""``SaliencyDataset``: its samples are those of ``read_maps``, in any order and any process."""

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pipeline import SaliencyDataset, read_maps
from pipeline.images import read_rgb
from pipeline.read import read_images, read_rows
from sess_kernels.errors import SessError


def expected(out):
    return {(one.image_id, one.class_index): one for one in read_maps(out)}


def name(sample):
    return sample["image_id"], int(sample["class_index"])


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
def test_samples_are_those_of_read_maps(samples_agree, make, kind):
    out = make(**kind)
    dataset = SaliencyDataset(out)
    assert len(dataset) == 10
    samples_agree([dataset[number] for number in torch.randperm(10).tolist()], out)
    assert dataset[-1]["image_id"] == dataset[9]["image_id"]
    for beyond in (10, -11):
        with pytest.raises(IndexError):
            dataset[beyond]

    whole = SaliencyDataset(out, as_uint8=True)
    for sample in whole:
        assert sample["map"].dtype == torch.uint8
        of_record = expected(out)[name(sample)].map
        np.testing.assert_array_equal(sample["map"].numpy(), (of_record * 255).round())


def test_the_order_is_that_of_the_plan(make):
    out = make()
    rows = {row["image_id"]: row["row"] for row in read_rows(out)}
    numbers = [rows[sample["image_id"]] for sample in SaliencyDataset(out)]
    assert numbers == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize(
    ("context", "workers"), [("fork", 2), pytest.param("spawn", 1, marks=pytest.mark.slow)]
)
def test_workers_see_every_map_once(samples_agree, make, context, workers):
    out = make()
    loader = DataLoader(
        SaliencyDataset(out),
        3,
        shuffle=True,
        num_workers=workers,
        collate_fn=list,
        multiprocessing_context=context,
    )
    samples_agree([sample for batch in loader for sample in batch], out)


def test_a_pickle_is_small_and_opens_its_own_files(samples_agree, make):
    out = make()
    dataset = SaliencyDataset(out)
    dataset[0]
    content = pickle.dumps(dataset)
    assert len(content) < 2000
    samples_agree(list(pickle.loads(content)), out)


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


def test_ranks_share_all_samples(samples_agree, make, monkeypatch):
    out = make()
    shares = [SaliencyDataset(out, rank=rank, world_size=4) for rank in range(4)]
    assert [len(one) for one in shares] == [3, 3, 2, 2]
    samples_agree([sample for share in shares for sample in share], out)
    equal = [SaliencyDataset(out, rank=rank, world_size=4, equal=True) for rank in range(4)]
    assert [len(one) for one in equal] == [2, 2, 2, 2]
    assert len({name(sample) for share in equal for sample in share}) == 8

    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 4)
    assert [name(one) for one in SaliencyDataset(out)] == [name(one) for one in shares[1]]
    assert len(SaliencyDataset(out, rank=0, world_size=1)) == 10

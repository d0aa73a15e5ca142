import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline import ids as ids_module
from pipeline import scheduler
from pipeline.difference import first_difference
from pipeline.files import Folder
from pipeline.fingerprint import fingerprint
from pipeline.labels import LabelResolver
from pipeline.plan_rows import PlanConfig
from pipeline.records import PLAN_SCHEMA, SOURCE_SCHEMA
from pipeline.scheduler import Plan, read_plan, write_plan
from pipeline.shards import MAX_SHARD_BYTES, shard_bytes
from pipeline.sources import open_source
from sess_kernels import SESSConfig, SessError
from sess_kernels.windows import count

SESS = SESSConfig(scales=3)
CONFIG = PlanConfig(SESS, input_size=224, batch_size=4)
RESOLVE = LabelResolver(["cat", "dog"], "toy")


def table(n=10, start=0, **columns):
    """Rows that tell their sizes."""
    numbers = range(start, start + n)
    rows = {
        "image_id": [f"{number}.jpg" for number in numbers],
        "uri": [f"/photos/{number}.jpg" for number in numbers],
        "labels": [[str(number % 2)] for number in numbers],
        "height": [200 + number % 7 for number in numbers],
        "width": [300 + number % 5 for number in numbers],
    }
    return pa.table(rows | columns, SOURCE_SCHEMA)


def planned(tables, folder, config=CONFIG):
    """The plan and its rows."""
    plan = write_plan(iter(tables), Folder.of(folder), config)
    return plan, pa.concat_tables(read_plan(Folder.of(folder), plan.files))


@pytest.fixture
def small_files(monkeypatch):
    """Files of 16 rows."""
    monkeypatch.setattr(scheduler, "TABLE_ROWS", 16)
    monkeypatch.setattr("pipeline.difference.TABLE_ROWS", 16)


def test_plan_knows_sizes_and_patches_before_pixels_move(photo_folder, tmp_path):
    Image.fromarray(np.zeros((1, 200_000, 3), np.uint8)).save(photo_folder / "strip.png")
    plan, rows = planned(open_source(str(photo_folder)), tmp_path)
    assert rows.schema == PLAN_SCHEMA
    by_id = {row["image_id"]: row for row in rows.to_pylist()}
    assert (by_id["cat.jpg"]["height"], by_id["cat.jpg"]["width"]) == (300, 451)
    assert by_id["cat.jpg"]["n_patches"] == count(300, 451, SESS)
    assert by_id["cat.jpg"]["labels"] is None
    assert by_id["cut.jpg"]["error"] is None  # its header is whole
    assert "is no image of a known format" in by_id["not.jpg"]["error"]
    assert by_id["not.jpg"]["n_patches"] == by_id["not.jpg"]["height"] == 0
    assert "strip.png of 1x200000 pixels has 24780800000 at the" in by_id["strip.png"]["error"]
    assert (plan.n_images, plan.n_failed, plan.n_files) == (7, 2, 1)
    assert plan.n_patches == sum(row["n_patches"] for row in by_id.values())
    assert Plan.of(json.loads(json.dumps(plan.to_dict()))) == plan


def test_sizes_that_the_source_tells_are_not_read_again(photo_folder, tmp_path):
    cat = str(photo_folder / "cat.jpg")
    rows = table(3, uri=["/none", "/none", cat], height=[10, None, None], width=[20, None, None])
    _, found = planned([rows], tmp_path)
    assert found["height"].to_pylist() == [10, 0, 300]
    assert found["width"].to_pylist() == [20, 0, 451]
    errors = found["error"].to_pylist()
    assert [error is None for error in errors] == [True, False, True]
    assert "/none" in errors[1]


def test_an_image_over_the_limit_is_left_out_whoever_tells_its_size(photo_folder, tmp_path):
    cat = str(photo_folder / "cat.jpg")
    rows = table(3, uri=["/a", "/b", cat], height=[10**5, 99, None], width=[10**4, 99, None])
    config = PlanConfig(SESS, 224, 4, max_pixels=100_000)
    _, found = planned([rows], tmp_path, config)
    errors = found["error"].to_pylist()
    assert errors[0] == (
        "/a has 1000000000 pixels, more than the limit of 100000; raise --max-pixels or "
        "leave it out"
    )
    assert errors[1] is None
    assert "135300 pixels" in errors[2]
    assert found["height"].to_pylist() == [0, 99, 0]


def test_rows_are_numbered_and_shards_stay_in_one_file(small_files, tmp_path):
    tables = [table(5), table(30, 5), table(0), table(15, 35)]
    plan, rows = planned(tables, tmp_path)
    assert (plan.n_images, plan.n_files) == (50, 4)
    assert plan.files[3] == "part-000003.parquet"
    assert rows["row"].to_pylist() == list(range(50))
    assert rows["image_id"].to_pylist() == [f"{number}.jpg" for number in range(50)]
    files = [set(part["shard"].to_pylist()) for part in read_plan(Folder.of(tmp_path), plan.files)]
    assert sorted(shard for file in files for shard in file) == list(range(plan.n_shards))
    sizes = [pq.read_metadata(tmp_path / name).num_rows for name in plan.files]
    assert sizes == [16, 16, 16, 2]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 3000)), min_size=1, max_size=80))
def test_every_row_is_planned_once_in_shards_of_bounded_size(tmp_path_factory, sizes):
    heights, widths = ([size[n] or None for size in sizes] for n in (0, 1))
    told = [w if h else None for h, w in zip(heights, widths, strict=True)]
    n = len(sizes)
    rows = table(n, height=heights, width=told, labels=[["0", "cat", "1"]] * n)
    config = PlanConfig(SESS, 224, 7, RESOLVE)
    plan, found = planned([rows], tmp_path_factory.mktemp("plan"), config)
    again, same = planned([rows], tmp_path_factory.mktemp("plan"), config)
    assert (plan, found) == (again, same)
    assert found["row"].to_pylist() == list(range(n))
    assert found["labels"].to_pylist() == [[0, 1]] * n
    shards = found["shard"].to_numpy()
    assert sorted(set(shards)) == list(range(plan.n_shards))
    assert (np.diff(shards) >= 0).all()
    pixels = found["height"].to_numpy().astype(int) * found["width"].to_numpy()
    for shard in range(plan.n_shards):
        own = pixels[shards == shard]
        assert len(own) == 1 or shard_bytes(own, 2).sum() <= MAX_SHARD_BYTES


def test_a_small_dataset_keeps_many_workers_busy(tmp_path):
    plan, rows = planned([table(2000)], tmp_path)
    assert 50 <= plan.n_shards <= 90
    patches = Counter()
    for shard, n in zip(rows["shard"].to_pylist(), rows["n_patches"].to_pylist(), strict=True):
        patches[shard] += n
    assert max(patches.values()) <= plan.n_patches // 64 + 8
    assert np.mean([n % 4 == 0 for n in patches.values()]) > 0.9  # device batches are full


def test_the_same_input_gives_the_same_files(photo_folder, tmp_path):
    plans = [planned(open_source(str(photo_folder)), tmp_path / name)[0] for name in ("one", "two")]
    assert plans[0] == plans[1]
    assert plans[0].fingerprint == fingerprint(open_source(str(photo_folder)))
    for name in plans[0].files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("bad_hash", [False, True])
def test_two_rows_with_one_id_are_refused(small_files, tmp_path, monkeypatch, bad_hash):
    if bad_hash:  # all ids clash
        for module in (ids_module, scheduler):
            monkeypatch.setattr(module, "hash_ids", lambda ids: np.zeros(len(ids), np.uint64))
    plan, _ = planned([table(60)], tmp_path / "good")
    assert plan.n_images == 60
    for first in (0, 58):
        names = [str(number) for number in range(59)]
        rows = table(60, image_id=[*names, names[first]])
        with pytest.raises(SessError, match=f"two rows have the image id '{first}'"):
            planned([rows], tmp_path / "bad")


def test_bad_ids_and_labels_end_the_plan(small_files, tmp_path):
    for image_id, said in (("", "row 40: the image id is empty"), ("a\0", "row 40: .* holds NUL")):
        names = [f"{number}" for number in range(50)]
        names[40] = image_id
        with pytest.raises(SessError, match=said):
            planned([table(50, image_id=names)], tmp_path)
    with pytest.raises(SessError, match=r"image 1\.jpg has class index 1 but"):
        planned([table(50)], tmp_path, PlanConfig(SESS, 224, 4, LabelResolver(["a"], "toy")))
    odd = ["../../x", "/etc/passwd", "x" * 300, "a", "A"]
    assert planned([table(5, image_id=odd)], tmp_path)[1]["image_id"].to_pylist() == odd


def test_an_empty_source_has_an_empty_plan(tmp_path):
    plan = write_plan(iter([table(0)]), Folder.of(tmp_path), CONFIG)
    assert (plan.n_images, plan.n_shards, plan.files) == (0, 0, ())


def test_a_source_is_read_a_few_tables_ahead_of_what_is_written(small_files, tmp_path):
    asked = []

    def tables():
        for number in range(40):
            asked.append(number - len(list(tmp_path.glob("part*"))))
            yield table(16, 16 * number)

    plan = write_plan(tables(), Folder.of(tmp_path), CONFIG)
    assert plan.n_files == 40
    assert max(asked) <= 10


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda n: table(n), None),
        (lambda n: table(n, height=[None] * n, width=[None] * n), None),
        (lambda n: table(n - 3), "row 37: the source has no more, OUT was planned with image '37"),
        (lambda n: table(n + 1), "row 40: the source has image '40.jpg', OUT was planned without"),
        (
            lambda n: table(n, image_id=[f"{m}.jpg" if m < 17 else f"x{m}" for m in range(n)]),
            "row 17: the source has image 'x17', OUT was planned with '17.jpg'",
        ),
        (
            lambda n: table(n, uri=[f"/photos/{m % 35}.jpg" for m in range(n)]),
            "row 35: the source has for image '35.jpg' the URI '/photos/0.jpg', OUT was planned "
            "with '/photos/35.jpg'",
        ),
        (
            lambda n: table(n, labels=[["cat"] if m == 21 else [str(m % 2)] for m in range(n)]),
            "row 21: the source has for image '21.jpg' the classes [0], OUT was planned with [1]",
        ),
        (
            lambda n: table(n, width=[300 + m % 5 + m // 39 for m in range(n)]),
            "row 39: the source has for image '39.jpg' the width 305, OUT was planned with 304",
        ),
    ],
)
def test_the_first_row_that_differs_is_told(small_files, tmp_path, changed, said):
    plan, _ = planned([table(40)], tmp_path, PlanConfig(SESS, 224, 4, RESOLVE))
    found = first_difference(iter([changed(40)]), Folder.of(tmp_path), plan, RESOLVE)
    assert found == said or found.startswith(said)

"""Stores that fill up: Ray's objects, the disk of OUT, what waits for a slow sink."""

import shutil
import threading

import pytest

from faults.conftest import paint
from faults.runs import SETTINGS, Expected, rows_of
from faults.stages import CountedDecode, SlowEncode
from pipeline import RunConfig, run
from pipeline.commit import committed
from pipeline.files import Folder

pytestmark = pytest.mark.slow
N_LARGE = 40
LARGE = (700, 1000)  # 2 MB of pixels, 3 MB of map


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A table of images that are each a shard, as they are large."""
    folder = tmp_path_factory.mktemp("large")
    for i in range(N_LARGE):
        paint(folder / f"{i}.png", LARGE, i)
    lines = [f"{i}.png,ball" for i in range(N_LARGE)]
    (folder / "list.csv").write_text("\n".join(["image,label", *lines]) + "\n")
    return f"table:{folder / 'list.csv'}"


@pytest.fixture(scope="module")
def expected_large(large, expected, tmp_path_factory):
    out = tmp_path_factory.mktemp("large-undisturbed") / "out"
    run(large, out, RunConfig(engine="local", **SETTINGS | {"scales": 1}))
    rows = rows_of(out)
    shutil.rmtree(out)
    return Expected(rows, expected.told)


@pytest.fixture
def slow_sink(cluster, large, flags, tmp_path, monkeypatch):
    """Run the large images with a sink that is slow; the most that was ever under way."""
    monkeypatch.setattr("pipeline.shards.MIN_SHARD_PATCHES", 2)
    monkeypatch.setattr("pipeline.engines.ray.DecodeWorker", CountedDecode)
    monkeypatch.setattr("pipeline.engines.ray.EncodeWorker", SlowEncode)

    def go(out, sample):
        config = RunConfig(engine="ray", address=cluster.address, **SETTINGS | {"scales": 1})
        ended, found = threading.Event(), []

        def watch():
            while not ended.wait(0.05):
                found.append(sample())

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            run(large, out, config)
        finally:
            ended.set()
            thread.join()
        return max(found)

    return go


def test_more_objects_than_the_store_holds(slow_sink, cluster, expected_large, tmp_path):
    spilled = cluster.spilled

    def on_disk():
        return sum(file.stat().st_size for file in spilled.rglob("*") if file.is_file())

    most = slow_sink(tmp_path / "out", on_disk)
    expected_large.hold(f"object store of 75 MiB, {most >> 20} MiB spilled", 1, tmp_path / "out")


def test_a_slow_sink_holds_the_decoders_back(
    slow_sink, flags, expected_large, tmp_path, monkeypatch
):
    monkeypatch.setattr("pipeline.engines.ray._SHARD_BYTES", 2**20)  # 12 MiB under way
    out = tmp_path / "out"

    def under_way():
        return flags.count("decoded-") - len(committed(Folder.of(out)))

    most = slow_sink(out, under_way)
    expected_large.hold(f"slow sink, at most {most} images under way", 1, out)
    assert 1 < most <= 12 < N_LARGE

"""Stores that fill up: Ray's objects, and what waits for a slow sink."""

import subprocess
import sys
import threading

import pytest

from faults.conftest import paint
from faults.runs import SETTINGS, Expected, rows_of
from faults.stages import CountedDecode, SlowEncode
from pipeline import RunConfig, run
from pipeline.commit import committed
from pipeline.files import Folder

pytestmark = pytest.mark.slow
LARGE = (700, 1000)  # 2 MB of pixels, 3 MB of map
SMALL = (48, 64)
N_FILES = 10
FEW, MANY = 20, 40
HOG = """
import sys, numpy as np, ray
ray.init(sys.argv[1], log_to_driver=False, logging_level=50)
held = [ray.put(np.zeros(10 << 20, np.uint8)) for _ in range(7)]
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A call that gives a table of so many images of a size."""
    folder = tmp_path_factory.mktemp("tables")

    def of(n_images, size=LARGE):
        lines = []
        for i in range(n_images):
            name = f"{size[0]}-{i % N_FILES}.png"
            if not (folder / name).exists():
                paint(folder / name, size, i)
            lines.append(f"{name},{i},ball")
        path = folder / f"{size[0]}-{n_images}.csv"
        path.write_text("\n".join(["image,image_id,label", *lines]) + "\n")
        return f"table:{path}"

    return of


@pytest.fixture(scope="module")
def _undisturbed(table, flags, tmp_path_factory):
    out = tmp_path_factory.mktemp("large-undisturbed") / "out"
    run(table(N_FILES), out, RunConfig(engine="local", **SETTINGS | {"scales": 1}))
    return rows_of(out)


@pytest.fixture
def expected_of(_undisturbed, record_property):
    """A call that gives the rows to expect of so many large images."""

    def of(n_images):
        # a row of an image names its own place; the rest is that of its file
        rows = [
            _undisturbed[str(i % N_FILES)] | {"image_id": str(i), "row": i} for i in range(n_images)
        ]
        return Expected({row["image_id"]: row for row in rows}, record_property)

    return of


@pytest.fixture
def slow_sink(cluster, flags, monkeypatch):
    """Run images that are each a shard with a slow sink; the most that was ever sampled."""
    monkeypatch.setattr("pipeline.shards.MIN_SHARD_PATCHES", 2)
    monkeypatch.setattr("pipeline.engines.lines.DecodeWorker", CountedDecode)
    monkeypatch.setattr("pipeline.engines.lines.EncodeWorker", SlowEncode)

    def go(images, out, sample):
        more = {"engine": "ray", "address": cluster.address, "scales": 1}
        config = RunConfig(**SETTINGS | more | {"gpus_per_worker": 1.0})  # decoders of their own
        ended, found = threading.Event(), []

        def watch():
            while not ended.wait(0.05):
                found.append(sample())

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            run(images, out, config)
        finally:
            ended.set()
            thread.join()
        return max(found)

    return go


@pytest.fixture
def hog(cluster):
    """Another program of the cluster, which holds 70 of the 75 MiB of its object store."""
    command = [sys.executable, "-c", HOG, cluster.address]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.stdin.close()
        process.wait(60)


@pytest.fixture
def under_way(flags, tmp_path):
    """A call that gives the number of images that are read and not committed."""
    return lambda: flags.count("decoded-") - len(committed(Folder.of(tmp_path / "out")))


def test_more_objects_than_the_store_holds(slow_sink, hog, table, cluster, expected_of, tmp_path):
    def on_disk():
        files = [one for one in cluster.spilled.rglob("*") if one.is_file()]
        return sum(file.stat().st_size for file in files)

    most = slow_sink(table(FEW), tmp_path / "out", on_disk)
    assert hog.poll() is None
    assert most > 0
    fault = f"object store of 75 MiB, 70 taken, {most >> 20} MiB spilled"
    expected_of(FEW).hold(fault, 1, tmp_path / "out")


@pytest.mark.parametrize("n_images", [FEW, MANY])
def test_a_slow_sink_holds_the_decoders_back(
    slow_sink, table, under_way, expected_of, tmp_path, monkeypatch, n_images
):
    """Of twice the images not more are under way."""
    monkeypatch.setattr("pipeline.engines.ray.MAX_SHARD_BYTES", 2**20)  # 12 MiB under way
    most = slow_sink(table(n_images), tmp_path / "out", under_way)
    fault = f"slow sink, at most {most} images under way"
    expected_of(n_images).hold(fault, 1, tmp_path / "out")
    assert 1 < most <= 12 < FEW


def test_small_images_are_held_back_by_number(slow_sink, table, under_way, tmp_path, monkeypatch):
    """Ray keeps small blocks out of the object store, whose limit they never reach."""
    monkeypatch.setattr("pipeline.engines.ahead._SHARDS", 2)
    most = slow_sink(table(2 * MANY, SMALL), tmp_path / "out", under_way)
    assert len(rows_of(tmp_path / "out")) == 2 * MANY
    # two of each stage wait, and each of at most four workers has two; the sink has what it writes
    assert 1 < most <= 3 * (2 + 8) < MANY

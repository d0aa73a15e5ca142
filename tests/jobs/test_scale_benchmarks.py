"""The benchmarks of dataset scale, at small sizes."""

import subprocess
import sys
from importlib import import_module

import pytest

from jobs.benchmarks import BENCHMARKS, Setting
from jobs.benchmarks.engines import steady
from jobs.benchmarks.processes import watched
from pipeline.engines import BatchDone
from sess_kernels.errors import SessError

_BURN = "import time\nwhile time.process_time() < 0.5: pass"


def _set(monkeypatch, benchmark, **sizes):
    module = import_module(f"jobs.benchmarks.{benchmark}")
    for name, value in sizes.items():
        monkeypatch.setattr(module, name, value)


def test_cpu_of_processes_that_have_ended_counts():
    ended, uses = watched(subprocess.run, [sys.executable, "-c", _BURN])
    assert ended.returncode == 0
    assert uses[-1].cpu_s > 0.3  # it is seen ten times a second
    assert uses[-1].own_cpu_s < 0.2
    assert [one.cpu_s for one in uses] == sorted(one.cpu_s for one in uses)


def _batch(started, finished, images=6):
    return BatchDone(images, 0, 0, "cpu", 4, started, finished)


def test_start_and_end_of_a_run_are_left_out():
    first = [_batch(0, 3), _batch(3, 6), _batch(6, 9), _batch(9, 12)]
    late = [_batch(5, 8), _batch(8, 11)]  # its worker is up at 5, and has no more to do at 11
    found = steady(first + late)
    assert (found.start, found.end) == (5, 11)
    assert found.images == pytest.approx(2 + 6 + 4 + 12)
    assert found.images_per_s == pytest.approx(4)
    warm = steady(first + late, warm_up=1)  # 0, 3, then 5
    assert (warm.start, warm.end) == (5, 11)
    assert steady(first + late, warm_up=2).start == 8
    with pytest.raises(SessError, match="6 shards are too few"):
        steady(first + late, warm_up=3)
    with pytest.raises(SessError, match="no shard was run"):
        steady([])


@pytest.mark.slow
def test_overhead_is_the_slope_between_two_sizes(monkeypatch):
    _set(monkeypatch, "overhead", _FEW=2, _MANY=4)
    [row] = BENCHMARKS["overhead"](Setting(repeats=1))
    added = row["ray_cpu_ms_per_image"]["median"] - row["local_cpu_ms_per_image"]["median"]
    assert row["cpu_ms_per_image"]["median"] == pytest.approx(added)
    assert row["images"] == [2, 4]


@pytest.mark.slow
def test_workers_that_sleep(monkeypatch):
    _set(monkeypatch, "scaleout", _WORKERS=(2,), _SECONDS=6.0)
    [row] = BENCHMARKS["scaleout"](Setting("lite0"))
    assert row["shards"] == 5  # 591 rows, 128 in a shard
    assert 0 < row["images_per_s"] <= 2 * 49.22
    assert row["cores_used"] > 0


def test_scaleout_needs_more_shards_than_workers(monkeypatch):
    ran = (0.0, [_batch(0, 3)] * 3)
    _set(monkeypatch, "scaleout", _WORKERS=(2,), watched=lambda *_: (ran, []))
    with pytest.raises(SessError, match="3 shards are too few for 2 workers"):
        BENCHMARKS["scaleout"](Setting("lite0"))


def test_scaleout_knows_measured_backbones_only():
    with pytest.raises(SessError, match="unknown backbone with a measured time 'alexnet'"):
        BENCHMARKS["scaleout"](Setting("alexnet"))


@pytest.mark.slow
def test_driver_of_few_and_more_rows(monkeypatch):
    _set(monkeypatch, "driver", _FEW=500)
    few, more = BENCHMARKS["driver"](Setting(rows=1500))
    assert [few["rows_run"], more["rows_run"]] == [500, 1500]
    assert [few["shards_run"], more["shards_run"]] == [4, 12]
    assert few["ran_to_the_end"] is True
    assert more["ratio"]["median"] == pytest.approx(more["peak_mb"] / few["peak_mb"])
    assert 100 < few["planned_mb"] <= few["engine_peak_mb"] <= few["peak_mb"]

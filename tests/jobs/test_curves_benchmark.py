"""The benchmark of insertion and deletion: the same areas from a plain loop, and who takes part."""

import json
import pickle
from concurrent.futures import Future
from contextlib import ExitStack, nullcontext

import pytest
import torch

from jobs.benchmarks import BENCHMARKS, Setting, curves
from jobs.benchmarks.curves import Way
from jobs.benchmarks.table import show

SETTING = Setting("timm/test_resnet", images=1, repeats=1)


def _here(way, setting, stack):
    """A worker that is no process of its own."""
    curves.start(way, setting)
    [judge] = curves._judge
    return judge


def test_a_plain_loop_and_ours_find_the_same_areas(monkeypatch, capsys):
    plain, ours = Way(16), Way(4, 2, 1, "torch")
    monkeypatch.setattr(curves, "ways_of", lambda cores: [plain, ours])
    monkeypatch.setattr(curves, "started", _here)
    monkeypatch.setattr(curves.os, "cpu_count", lambda: 2)
    [row] = list(BENCHMARKS["curves"](SETTING))
    assert (row["what"], row["against"]) == (str(plain), str(ours))
    assert row["images"] == 2  # one asked for, and one for the other core
    assert row["frames"] == 58
    assert 0 < row["area_difference"] < 1e-5
    assert row["ratio"]["n"] == 1
    assert row["ms_per_patch"] / row["against_ms_per_patch"] == pytest.approx(
        row["ratio"]["median"]
    )
    assert row["against_images_per_s"] == pytest.approx(
        1e3 / row["against_ms_per_patch"] / row["frames"]
    )
    json.dumps(row)
    show([row])
    assert "areas differ" in " ".join(capsys.readouterr().out.split())


def test_workers_share_the_maps_and_keep_their_order(monkeypatch):
    way, shares = Way(8, 2, 1, "torch"), []

    class Pool(nullcontext):
        def __init__(self, workers, mp_context, initializer, initargs):
            super().__init__(self)
            assert (workers, mp_context.get_start_method()) == (1, "spawn")
            initialize, given = pickle.loads(pickle.dumps((initializer, initargs)))
            initialize(*given)

        def submit(self, call, share):
            shares.append(len(share))
            done = Future()
            done.set_result(pickle.loads(pickle.dumps(call))(share))
            return done

    monkeypatch.setattr(curves, "ProcessPoolExecutor", Pool)
    queries = curves.queries_of(SETTING, 3)
    assert [query.class_index for query in queries] == [285, 967, 657]
    assert {query.image.shape for query in queries} == {(160, 160, 3)}
    assert len(pickle.loads(pickle.dumps(queries))) == 3
    with ExitStack() as stack:
        found = curves.started(way, SETTING, stack)(queries)
    assert shares == [2, 1]
    assert found == _here(way, SETTING, None)(queries)
    assert len(set(found)) == 3


def test_ways_that_a_machine_has(monkeypatch):
    one = [str(way) for way in curves.ways_of(1)]
    assert one[:4] == [
        "plain loop, batches of 64",
        "plain loop, batches of 4",
        "1 worker of 1 thread, batches of 4, runtime torch",
        "1 worker of 1 thread, batches of 8, runtime torch",
    ]
    assert "1 worker of 2 threads, batches of 4, runtime openvino" in map(str, curves.ways_of(2))
    monkeypatch.setattr(curves, "check_installed", _missing)
    assert not any("openvino" in str(way) for way in curves.ways_of(2))
    way = Way(8, 2, 1, "torch", torch.bfloat16)
    assert str(way).endswith("runtime torch, bfloat16, an approximation")


def _missing(runtime):
    if runtime == "openvino":
        raise curves.SessError("missing")

"""Faults of the workers of a run on Ray."""

import os
import random
import signal
import threading
import time
from contextlib import ExitStack, contextmanager, suppress

import pytest

from faults.cluster import actors
from faults.conftest import N_IMAGES
from faults.runs import SETTINGS, retried, rows_of, until
from faults.stages import SlowDecode
from pipeline import RunConfig, run
from sess_kernels import SessError

pytestmark = pytest.mark.slow
MARKED = "031.png"
KINDS = {
    "fused": (["decode", "saliency", "encode"], {"gpus_per_worker": 0.5}),
    "split": (["decode", "pre-filter", "saliency", "encode"], {"gpus_per_worker": 0.5}),
    "fused, on CPUs": (["saliency"], {}),  # one process does all
}


@pytest.fixture
def config(cluster):
    def of(**more):
        return RunConfig(engine="ray", address=cluster.address, **SETTINGS | more)

    return of


@contextmanager
def beside(work):
    """Run ``work(ended)`` in a thread until the block ends; what it raises is raised here."""
    ended, faults = threading.Event(), []

    def go():
        try:
            work(ended)
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert not faults, faults


@pytest.mark.parametrize("kind", KINDS)
def test_killed_workers(cluster, config, source, expected, flags, tmp_path, monkeypatch, kind):
    out, rng = tmp_path / "out", random.Random(kind)
    stages, more = KINDS[kind]
    monkeypatch.setattr("pipeline.engines.lines.DecodeWorker", SlowDecode)
    flags.set("slow", 0.01)
    killed, read = [], []

    def kill(name):
        """Twice, while it works on a shard; a third time might put an innocent row aside."""
        title = name.title().replace("-", "")

        def go(ended):
            before = None
            for _ in range(2):
                until(lambda: ended.is_set() or list(out.glob(f"journal/{name}-*")))
                until(
                    lambda before=before: (
                        ended.is_set() or set(dict(actors(cluster, title))) - {before}
                    )
                )
                time.sleep(rng.uniform(0, 0.2))
                for before, _ in actors(cluster, title)[:1]:
                    with suppress(ProcessLookupError):
                        os.kill(before, signal.SIGKILL)
                        killed.append(name)

        return beside(go)

    def look(ended):
        """Readers see rows that are whole and final, whatever dies."""
        while not ended.wait(0.3):
            if (out / "maps").exists():
                rows = rows_of(out)
                assert all(row == expected.rows[name] for name, row in rows.items())
                read.append(len(rows))

    with ExitStack() as several:
        several.enter_context(beside(look))
        for name in stages:
            several.enter_context(kill(name))
        run(source, out, config(topology=kind[:5], pre_filter_workers=1, **more))
    assert sorted(killed) == sorted(stages * 2)
    assert any(0 < n < len(expected.rows) for n in read)
    expected.hold(f"workers killed, {kind}", len(killed), out)


def test_a_hung_image(config, source, expected, flags, tmp_path):
    flags.set("hang")
    run(source, tmp_path / "out", config(batch_timeout=2))
    reasons = expected.hold("image hangs (timeout)", 3, tmp_path / "out", failed={MARKED})
    assert "died on it 2 times, or took longer than 2 s" in reasons[MARKED]


def test_a_device_without_memory(config, source, expected, flags, tmp_path):
    for i in range(3):
        flags.set(f"memory-{i}")
    flags.set("memory")
    run(source, tmp_path / "out", config())
    assert flags.count("memory-") == 0
    reasons = expected.hold("no device memory, ray", 4, tmp_path / "out", failed={MARKED})
    assert "out of memory" in reasons[MARKED]


def test_an_image_that_kills_its_worker(config, source, expected, flags, tmp_path):
    out = tmp_path / "out"
    flags.set("die")
    run(source, out, config())
    reasons = expected.hold("image kills its worker, ray", 3, out, failed={MARKED})
    assert "its worker (saliency) died on it 2 times" in reasons[MARKED]
    assert "sess retry" in reasons[MARKED]
    flags.clear()
    retried(out, expected)


def test_a_run_that_fails_wholesale_is_stopped(config, source, broken, tmp_path):
    with pytest.raises(SessError, match=r"of \d+ rows failed, more than --max-errors 2"):
        run(broken, tmp_path / "out", config(max_errors=2))
    assert len(rows_of(tmp_path / "out")) < 2 * N_IMAGES

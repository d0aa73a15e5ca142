"""Faults of the driver of a run on Ray."""

import random
import signal
import subprocess
import sys
import time

import pytest

from faults.cluster import workers
from faults.runs import SETTINGS, Driver, arguments, kill_at, rows_of, until
from pipeline import RunConfig, run

pytestmark = pytest.mark.slow
MOMENTS = [("running", 3.0), ("work", 0.5), ("write", 0.05), ("commit+2", 0.3)]


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_driver_goes_on_where_it_was(cluster, source, expected, flags, tmp_path, seed):
    flags.set("slow", 0.01)
    rng = random.Random(seed)
    moments = [("start", 1.0), ("lease", 0.5), *rng.sample(MOMENTS[:3], 2), MOMENTS[3]]
    out, log = tmp_path / "out", tmp_path / "log"
    argv = arguments(source, out, "ray", cluster.address)
    killed = kill_at(moments, argv, out, log, rng)
    assert killed == len(moments)
    flags.clear()
    summary = run(source, out, RunConfig(engine="ray", address=cluster.address, **SETTINGS))
    assert summary.resumed > 0
    expected.hold("driver killed, ray", killed, out)
    until(lambda: not any("MapWorker" in title for title in workers(cluster)))


def test_an_interrupted_run_says_how_to_go_on(cluster, source, expected, flags, tmp_path):
    out = tmp_path / "out"
    flags.set("slow", 0.03)
    argv = arguments(source, out, "ray", cluster.address)
    driver = subprocess.Popen(
        [sys.executable, "-m", "jobs", *argv],
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: driver.poll() is not None or len(list(out.glob("maps/*.parquet"))) > 1)
        driver.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert driver.wait(10) == 130
        print(f"ended {time.monotonic() - began:.1f} s after SIGINT")
        said = driver.stderr.read()
    finally:
        driver.kill()
        driver.wait()
        driver.stderr.close()
    assert said.splitlines() == [
        "sess: interrupted; what is done is kept: give the same command again to go on"
    ]
    assert 0 < len(rows_of(out)) < len(expected.rows)
    flags.clear()
    with Driver(argv, tmp_path / "log") as again:
        assert again.wait() == 0, again.said()
    expected.hold("interrupted, ray", 1, out)

"""Drivers that this process knows little of: on another host, or with a Ray of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faults.cluster import descendants
from faults.runs import SETTINGS, Driver, arguments, until
from pipeline import RunConfig, lease, run
from pipeline.files import Folder
from sess_kernels import SessError

pytestmark = pytest.mark.slow
APART = ["unshare", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]
FAR = """
import socket, sys
socket.sethostname("far")
from jobs.cli import main
main(sys.argv[1:])
"""


@pytest.fixture
def far(tmp_path):
    """A call that runs ``sess`` where host name and process ids are others than here."""
    if subprocess.run([*APART, "true"], capture_output=True, check=False).returncode:
        pytest.skip("another host name needs root")

    def start(argv):
        return subprocess.Popen([*APART, sys.executable, "-c", FAR, *argv])

    return start


def test_a_driver_on_another_host(far, source, expected, flags, tmp_path, monkeypatch):
    """Refused while its count rises, followed when that has stood still for long enough."""
    out, config = tmp_path / "out", RunConfig(engine="local", **SETTINGS)
    flags.set("slow", 0.1)
    with far(arguments(source, out, "local")) as first:
        until(lambda: first.poll() is not None or list(out.glob("maps/*.parquet")))
        assert lease.holder(Folder.of(out))["host"] == "far"
        with pytest.raises(SessError, match=r"is being written by a run on far \(process 1\)"):
            run(source, out, config)
        assert first.poll() is None
        first.kill()
    flags.clear()
    monkeypatch.setattr(lease, "PATIENCE_SECONDS", 2 * lease.BEAT_SECONDS)
    assert run(source, out, config).resumed > 0
    expected.hold("a driver on another host, killed", 1, out)


def test_a_killed_driver_that_had_started_ray(source, expected, flags, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    argv = arguments(source, out, "ray")
    flags.set("slow", 0.01)
    with Driver(argv, log) as driver:
        until(lambda: not driver.alive or list(out.glob("maps/*.parquet")))
        started = descendants(driver.pid)
        driver.signal(signal.SIGKILL)
        assert driver.wait() == -signal.SIGKILL
    assert started
    try:
        with Driver(argv, log) as again:  # at once; what the other had started still runs
            assert again.wait() == 0, again.said()
        expected.hold("driver killed that had started Ray", 1, out)
    finally:
        for pid in started:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)

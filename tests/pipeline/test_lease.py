import json
import os
import subprocess
import sys
import threading

import pytest

from pipeline import lease
from pipeline.files import Folder
from pipeline.lease import Lease, holder, is_alive
from sess_kernels import SessError


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    return Folder.of(tmp_path)


def claimed(out, **changes):
    """A lease file as a driver would have left it."""
    found = {"token": "other", "beat": 3, **lease._who(os.getpid())} | changes
    out.write("driver.json", json.dumps(found).encode())
    return found


def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_it_names_its_driver_and_ends_with_it(out):
    with Lease(out) as mine:
        found = holder(out)
        assert (found["pid"], found["host"]) == (os.getpid(), os.uname().nodename)
        mine.told = {"images": 7}
        while holder(out)["beat"] < 2:
            pass
        assert json.loads(out.read("driver.json"))["progress"] == {"images": 7}
    assert holder(out) is None


def test_a_second_driver_is_refused(out):
    with Lease(out), pytest.raises(SessError) as caught, Lease(out):
        pass
    assert str(caught.value) == (
        f"{out.uri} is being written by a run on {os.uname().nodename} (process {os.getpid()}); "
        "wait for its end, stop it, or give another --out"
    )


def test_a_dead_driver_of_this_host_is_followed_at_once(out, monkeypatch):
    monkeypatch.setattr(lease, "PATIENCE_SECONDS", 1e9)
    for changes in ({"pid": ended_process()}, {"began": "1"}):  # the number is another's by now
        assert not is_alive(out, claimed(out, **changes))
        with Lease(out):
            assert holder(out)["token"] != "other"


def test_a_driver_elsewhere_lives_while_its_count_rises(out, monkeypatch):
    monkeypatch.setattr(lease, "PATIENCE_SECONDS", 60)
    ended = threading.Event()

    def beat():
        count = 0
        while not ended.wait(0.1):
            count += 1
            claimed(out, machine="elsewhere", host="far", pid=1, beat=count)

    claimed(out, machine="elsewhere", host="far", pid=1, beat=0)
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(SessError, match=r"by a run on far \(process 1\)"), Lease(out):
            pass
    finally:
        ended.set()
        thread.join()


def test_a_driver_elsewhere_is_followed_when_its_count_stands_still(out, monkeypatch):
    monkeypatch.setattr(lease, "PATIENCE_SECONDS", 1.0)
    claimed(out, machine="elsewhere", host="far")
    with Lease(out):
        assert holder(out)["pid"] == os.getpid()


def test_a_lease_that_is_lost_is_told(out):
    told = []
    with Lease(out, told.append):
        claimed(out)
        while not told:
            pass
    assert told == [f"another run has taken over {out.uri}"]
    assert holder(out)["token"] == "other"  # not ours to remove


def test_a_file_that_is_no_lease_blocks_nobody(out):
    out.write("driver.json", b"{cut short")
    with Lease(out):
        assert holder(out)["pid"] == os.getpid()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 1}'])
def test_a_file_that_no_driver_wrote_blocks_nobody(tmp_path, content):
    (tmp_path / "driver.json").write_bytes(content)
    with Lease(Folder.of(tmp_path)):
        assert holder(Folder.of(tmp_path))["pid"] == os.getpid()

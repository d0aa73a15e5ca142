"""Drivers as processes of their own, what they left behind, and the comparison with it."""

import ctypes
import json
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.commit import committed
from pipeline.files import Folder
from pipeline.read import read_rows
from pipeline.run import retry

SETTINGS = {"backbone": "faults.tiny:backbone", "scales": 3, "map_dtype": "float32", "workers": 1}
SETTINGS |= {"device": "cpu"}
PATIENCE = 120.0  # seconds that anything here may take before a test gives up


@dataclass(frozen=True)
class Flags:
    """Flag files; see ``faults.tiny``."""

    folder: Path

    def set(self, name, text=""):
        (self.folder / name).write_text(str(text))

    def clear(self):
        for one in self.folder.iterdir():
            one.unlink(missing_ok=True)

    def count(self, prefix):
        return sum(one.name.startswith(prefix) for one in self.folder.iterdir())


def rows_of(out):
    """The committed rows by image id; each but once."""
    rows = list(read_rows(out))
    assert len({row["image_id"] for row in rows}) == len(rows)
    return {row["image_id"]: row for row in rows}


@dataclass(frozen=True)
class Expected:
    """Rows of an undisturbed run by image id, and the record of comparisons with them."""

    rows: dict
    record: Callable[[str, tuple], None]

    def hold(self, fault, injected, out, failed=()):
        """Compare an OUT: every row once, those of ``failed`` with a reason, the others equal.

        Returns:
            The reasons by image id.
        """
        found = list(read_rows(out))
        times = Counter(row["image_id"] for row in found)
        rows = {row["image_id"]: row for row in found}
        reasons = {name: row["error"] for name, row in rows.items() if row["status"] != "ok"}
        equal = all(rows.get(name) == self.rows[name] for name in self.rows if name not in failed)
        twice = sum(times.values()) - len(times)
        counts = injected, len(self.rows), len(rows), twice, len(reasons)
        self.record("fault", (fault, *counts, equal))
        assert set(rows) == set(self.rows)
        assert twice == 0
        assert set(reasons) == set(failed)
        assert equal
        return reasons


def retried(out, expected):
    """Do the one failed row again and compare; nothing else is done again."""
    told = []
    summary = retry(out, on_batch=told.append)
    assert sum(one.images for one in told) == 1
    assert (summary.images, summary.failed) == (len(expected.rows), 0)
    expected.hold("the same, retried", 0, out)


def arguments(source, out, engine, address=None, **more):
    """The command line of a run."""
    settings = SETTINGS | {"engine": engine} | ({"address": address} if address else {}) | more
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    return ["run", source, f"--out={out}", "--quiet", *flags]


class Driver:
    """A process that runs ``sess``, forked from one that has imported all it needs.

    Leaves nothing behind: ``with`` ends it.
    """

    def __init__(self, argv, log):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["faults.warm"])
        self._log = log
        self._process = context.Process(target=_drive, args=(argv, str(log)))
        self.began = time.time()
        self._process.start()

    @property
    def pid(self):
        return self._process.pid

    @property
    def alive(self):
        return self._process.is_alive()

    def signal(self, number):
        """Send it a signal; it may have ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def signal_thread(self, number, main):
        """Send its main thread a signal, or another one that takes it, as the kernel may choose."""
        if main:
            thread = self.pid
        else:
            threads = [int(one.name) for one in Path(f"/proc/{self.pid}/task").iterdir()]
            thread = next(one for one in threads if one != self.pid and self._takes(one, number))
        assert ctypes.CDLL(None).tgkill(self.pid, thread, int(number)) == 0

    def _takes(self, thread, number):
        status = Path(f"/proc/{self.pid}/task/{thread}/status").read_text()
        blocked = next(line for line in status.splitlines() if line.startswith("SigBlk"))
        return not int(blocked.split()[1], 16) >> (number - 1) & 1

    def wait(self, seconds=PATIENCE):
        """Its exit code; minus the number of the signal that ended it."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, self.said()
        return self._process.exitcode

    def said(self):
        """What it has printed."""
        return self._log.read_text()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.alive:
            self._process.kill()
        self._process.join()


def _drive(argv, log):
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from jobs.cli import main

    sys.exit(main(argv))


def until(true, seconds=PATIENCE, pause=0.005):
    """Wait until something is true."""
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(pause)


@dataclass(frozen=True)
class Traces:
    """What a driver that began at a time has left in OUT since; see ``reached``."""

    out: Path
    driver: Driver
    committed: int

    def reached(self, moment):
        """Whether the driver has come so far, or ended."""
        name, _, more = moment.partition("+")
        return not self.driver.alive or getattr(self, f"_{name}")(int(more or 0))

    def _start(self, _):
        return True

    def _lease(self, _):
        found = self._json("driver.json")
        return found.get("pid") == self.driver.pid

    def _running(self, _):
        return self._lease(0) and self._new(self.out) and self._state() == "running"

    def _work(self, _):
        return self._new(self.out / "journal")

    def _write(self, _):
        return any(one.endswith(".pending.parquet") for one in self._new(self.out / "checkpoint"))

    def _commit(self, more):
        return len(committed(Folder.of(self.out))) >= self.committed + more

    def _state(self):
        return self._json("run.json").get("state")

    def _json(self, name):
        try:
            return json.loads((self.out / name).read_text())
        except (FileNotFoundError, ValueError):
            return {}

    def _new(self, folder):
        found = []
        for name in [one.name for one in folder.iterdir()] if folder.is_dir() else ():
            try:
                if (folder / name).stat().st_mtime > self.driver.began:
                    found.append(name)
            except FileNotFoundError:
                continue
        return found


def kill_at(moments, argv, out, log, rng):
    """Start a driver again and again, each killed at a moment and a while after; how many were.

    Args:
        moments: Names of moments, each with the longest while after it in seconds.
        argv: Command line.
        out: Its OUT.
        log: File for what it prints.
        rng: Draws the whiles.
    """
    killed = 0
    for moment, longest in moments:
        done = len(committed(Folder.of(out)))
        with Driver(argv, log) as driver:
            traces = Traces(Path(out), driver, done)
            until(lambda traces=traces, moment=moment: traces.reached(moment))
            time.sleep(rng.uniform(0, longest))
            driver.signal(signal.SIGKILL)
            killed += driver.wait() == -signal.SIGKILL
    return killed

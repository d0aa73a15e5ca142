"""One driver an OUT: a lease that its holder renews, and that ends with it.

``OUT/driver.json`` names the driver and a count that it raises every few seconds. On the host of
the driver its process tells whether it lives; from elsewhere the count does, watched for a while,
because clocks of two hosts may differ.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from pipeline.files import Folder
from pipeline.layout import LEASE_FILE
from sess_kernels.errors import SessError, one_line

BEAT_SECONDS = 5.0
PATIENCE_SECONDS = 45.0  # without a beat for so long, a driver elsewhere is taken for dead
_SETTLE_SECONDS = {True: 0.2, False: 2.0}  # two that begin at once: the later write holds


class Lease:
    """The right to write to an OUT, as a context manager.

    Args:
        out: Folder of the run.
        on_lost: Told why, from another thread, if another driver has taken it.

    Raises:
        SessError: If another driver holds it and lives.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, Lease(Folder.of(folder)) as lease:
        ...     holder(Folder.of(folder))["pid"] == os.getpid()
        True
    """

    def __init__(self, out: Folder, on_lost: Callable[[str], None] = lambda why: None) -> None:
        self._out = out
        self._mine = {"token": uuid4().hex, "beat": 0, **_who(os.getpid())}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self.on_lost = on_lost
        self.told: dict[str, Any] = {}
        """What the driver tells of its progress, for ``sess status``."""

    def __enter__(self) -> Lease:
        found = holder(self._out)
        if found and is_alive(self._out, found):
            raise SessError(
                f"{self._out.uri} is being written by a run on {found['host']} (process "
                f"{found['pid']}); wait for its end, stop it, or give another --out"
            )
        self._write()
        time.sleep(_SETTLE_SECONDS[self._out.is_local])
        if not self._is_mine():
            raise SessError(f"{self._out.uri} was taken by another run just now; wait for its end")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        with suppress(OSError):  # a store that is gone: the lease runs out by itself
            if self._is_mine():
                self._out.remove(LEASE_FILE)

    def _renew(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                if not self._is_mine():
                    self.on_lost(f"another run has taken over {self._out.uri}")
                    return
                self._mine["beat"] += 1
                self._write()
            except OSError as error:  # a full disk, say, is found by the sink too
                self.told = self.told | {"lease": one_line(error)}

    def _write(self) -> None:
        self._out.write(LEASE_FILE, json.dumps(self._mine | {"progress": self.told}).encode())

    def _is_mine(self) -> bool:
        found = holder(self._out)
        return found is not None and found["token"] == self._mine["token"]


def holder(out: Folder) -> dict[str, Any] | None:
    """Who holds the lease of an OUT by its file, dead or alive."""
    try:
        found: dict[str, Any] = out.read_json(LEASE_FILE)
    except (FileNotFoundError, ValueError):  # no driver writes anything but JSON
        return None
    known = isinstance(found, dict) and {*_WHO, "token", "beat"} <= found.keys()
    return found if known else None


def is_alive(out: Folder, found: dict[str, Any], patience: float | None = None) -> bool:
    """Whether the driver that holds a lease lives; watches one elsewhere for a while.

    Args:
        out: Folder of the run.
        found: What ``holder`` said.
        patience: Seconds to watch; ``PATIENCE_SECONDS`` if not given.
    """
    if found["machine"] == _machine():
        return _who(found["pid"]) == {name: found[name] for name in _WHO}
    until = time.monotonic() + (PATIENCE_SECONDS if patience is None else patience)
    while time.monotonic() < until:
        time.sleep(0.5)
        now = holder(out)
        if now is None:
            return False
        if (now["token"], now["beat"]) != (found["token"], found["beat"]):
            return True
    return False


_WHO = ("host", "machine", "pid", "began")


def _who(pid: int) -> dict[str, Any]:
    """A process, so that no later one of the same number is taken for it."""
    began = "unknown"  # where there is no /proc
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        began = "gone"
    except OSError:  # of another user
        pass
    with suppress(OSError):
        began = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return {"host": socket.gethostname(), "machine": _machine(), "pid": pid, "began": began}


def _machine() -> str:
    """This machine since it was started, or this container."""
    boot = name_space = ""
    with suppress(OSError):  # Linux has both
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        name_space = str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()} {boot} {name_space}"

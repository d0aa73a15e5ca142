"""The local engine: every stage in this process, one thread for each backbone worker."""

from __future__ import annotations

import threading
import time
from uuid import uuid4

import pyarrow as pa

from pipeline.commit import commit
from pipeline.engines.base import (
    Job,
    Line,
    Placement,
    Stopped,
    Watch,
    rows_per_file,
    shards_left,
)
from pipeline.engines.units import devices_here
from pipeline.journal import Journal, Stage
from pipeline.sinks import EncodeWorker
from pipeline.stages import DecodeWorker, SaliencyWorker

_GRACE_SECONDS = 8.0  # for the batches in flight, when the run is interrupted
_POLL_SECONDS = 0.2


def run_local(job: Job, watch: Watch) -> None:
    """Run a job in this process.

    Args:
        job: What to run.
        watch: Told and asked, from any thread.

    Raises:
        SessError: If CUDA is asked for and there is none.
        Stopped: If ``watch`` stops the run.
    """
    devices = _devices(job)
    why = "one process runs both halves"
    workers = {"saliency": (len(devices), len(devices))}
    kind = devices[0].partition(":")[0]
    watch.placed(Placement(kind, job.config.batch_size, "fused", why, workers))
    _Run(job, watch, devices).go()


class _Run:
    """Threads that take shard after shard; nothing of the plan is held but what they work on."""

    def __init__(self, job: Job, watch: Watch, devices: list[str]) -> None:
        self._devices = devices
        self._job, self._watch = job, watch
        self._shards = shards_left(job)
        self._backbones = {device: job.backbone.load(device) for device in set(devices)}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._faults: list[BaseException] = []

    def go(self) -> None:
        ended = []
        for device in self._devices:
            ended.append(threading.Event())
            # daemons: an interrupted run does not wait for a batch that takes minutes
            threading.Thread(target=self._work, args=(device, ended[-1]), daemon=True).start()
        try:
            for one in ended:
                # in short waits: a signal may reach any thread, and wakes that thread alone
                while not one.wait(_POLL_SECONDS):
                    pass
        except BaseException:
            self._stop.set()
            until = time.monotonic() + _GRACE_SECONDS
            for one in ended:
                one.wait(max(0.0, until - time.monotonic()))
            raise
        if self._faults:
            raise self._faults[0]
        if stop := self._watch.stop():
            raise Stopped(stop)

    def _work(self, device: str, ended: threading.Event) -> None:
        try:
            self._explain_all(device)
        except BaseException as fault:  # told by the thread that waits
            self._faults.append(fault)
            self._stop.set()
        finally:
            ended.set()

    def _explain_all(self, device: str) -> None:
        job, config = self._job, self._job.config
        stages: list[Stage] = [
            DecodeWorker(config.max_pixels),
            SaliencyWorker(self._backbones[device], config),
            EncodeWorker(
                job.out,
                config.formats,
                config.map_dtype,
                map_stride=config.map_stride,
                npy_layout=config.npy_layout,
            ),
        ]
        journals = [Journal(job.out, name) for name in ("decode", "saliency", "encode")]
        line = Line(list(zip(stages, journals, strict=True)), self._watch.done)
        sink = _Sink(job)
        while (rows := self._next()) is not None:
            sink.add(line(rows))
        sink.flush()

    def _next(self) -> pa.Table | None:
        if self._stop.is_set() or self._watch.stop():
            return None
        with self._lock:
            return next(self._shards, None)


class _Sink:
    """Commits rows as soon as they fill a file."""

    def __init__(self, job: Job) -> None:
        self._out, self._rows_per_file = job.out, rows_per_file(job.plan)
        self._name = f"local-{uuid4().hex[:12]}"
        self._parts: list[pa.Table] = []
        self._written = 0

    def add(self, rows: pa.Table) -> None:
        self._parts.append(rows)
        if sum(len(part) for part in self._parts) >= self._rows_per_file:
            self.flush()

    def flush(self) -> None:
        if self._parts:
            commit(self._out, f"{self._name}_{self._written:06d}", pa.concat_tables(self._parts))
            self._written += 1
        self._parts = []


def _devices(job: Job) -> list[str]:
    """The device of each worker, no more than there are shards."""
    return devices_here(job.config)[: max(1, job.plan.n_shards)]

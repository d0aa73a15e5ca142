"""The local engine: every stage in this process, one thread for each backbone worker."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline.engines.base import Job, OnBatch, timed
from pipeline.files import atomic_write
from pipeline.read import MAPS_FOLDER
from pipeline.sinks import EncodeWorker
from pipeline.stages import DecodeWorker, SaliencyWorker
from sess_kernels.errors import SessError

_ROWS_PER_BATCH = 16  # between two of them a run can be interrupted


def run_local(job: Job, on_batch: OnBatch) -> None:
    """Run a job in this process.

    Args:
        job: What to run.
        on_batch: Told of every finished batch, from any thread.
    """
    idle: SimpleQueue[SaliencyWorker] = SimpleQueue()
    workers = _load_workers(job)
    for worker in workers:
        idle.put(worker)
    encode = EncodeWorker(job.out, job.config.formats, job.config.map_dtype)
    stop = threading.Event()

    def run_shard(shard: Path) -> None:
        worker = idle.get()
        try:
            results = _explain(pq.read_table(shard), worker, stop, on_batch)
        finally:
            idle.put(worker)
        if results is None:
            return
        with atomic_write(job.out / MAPS_FOLDER / f"{shard.stem}.parquet") as file:
            pq.write_table(encode(results), file)

    with ThreadPoolExecutor(len(workers)) as pool:
        running = [pool.submit(run_shard, shard) for shard in job.plan.shards]
        try:
            for future in running:
                future.result()
        except BaseException:  # an interrupt too: what has not begun must not begin
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _explain(
    planned: pa.Table, worker: SaliencyWorker, stop: threading.Event, on_batch: OnBatch
) -> pa.Table | None:
    """The results of a shard, or None if the run was stopped before its end."""
    decode = DecodeWorker()
    parts = []
    for first in range(0, planned.num_rows, _ROWS_PER_BATCH):
        if stop.is_set():
            return None
        parts.append(timed(worker, decode(planned.slice(first, _ROWS_PER_BATCH)), on_batch))
    return pa.concat_tables(parts)


def _load_workers(job: Job) -> list[SaliencyWorker]:
    """One worker for each core, or each GPU, sharing one backbone a device."""
    config, spec = job.config, job.backbone
    on_gpu = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    if on_gpu and not torch.cuda.is_available():
        raise SessError("device is cuda but torch sees none here; use --device cpu")
    if on_gpu:
        devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        backbones = [spec.load(device) for device in devices]
    else:
        backbones = [spec.load("cpu")]
    n_default = len(backbones) if on_gpu else max(1, (os.cpu_count() or 1) // config.threads)
    n_workers = config.workers or n_default
    return [SaliencyWorker(backbones[i % len(backbones)], config) for i in range(n_workers)]

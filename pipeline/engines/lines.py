"""Which actors a run has, and which stages each of them runs one behind the other.

Beside a GPU the CPUs decode and encode in processes of their own, while it computes. Where the
backbone computes on the CPUs, nothing runs beside it: its own workers decode and encode too, which
saves the processes and the way between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pipeline.config import RunConfig, worker_range
from pipeline.engines.actors import Decode, Encode, PreFilter, Saliency, StageActor
from pipeline.engines.base import Job
from pipeline.engines.cluster import TASK_CPUS, Pool
from pipeline.journal import Journal, Stage
from pipeline.sinks import EncodeWorker
from pipeline.stages import DecodeWorker, PreFilterWorker, SaliencyWorker
from pipeline.stages.kernel import KernelStage

_ACTORS: dict[str, type[StageActor]] = {"pre-filter": PreFilter, "saliency": Saliency}
_KERNELS: dict[str, type[KernelStage]] = {"pre-filter": PreFilterWorker, "saliency": SaliencyWorker}
_HANG_SECONDS = 600.0  # to read the images of a shard, or to encode its maps

Build = tuple[Callable[[], Stage], Journal]


@dataclass(frozen=True)
class Actors:
    """A pool of actors.

    Attributes:
        kind: Their class.
        pool: How many, and what each books.
        stages: What makes each of their stages, and its journal.
    """

    kind: type[StageActor]
    pool: Pool
    stages: list[Build]


def helpers(pools: dict[str, Pool], config: RunConfig) -> Pool:
    """Workers without a backbone, for each of decode, encode and write.

    One decoder feeds many backbone workers on CPUs; a backbone on a GPU outruns several.
    """
    n_workers = sum(one.most for one in pools.values())
    most = n_workers * 4 if _on_gpus(pools) else max(1, n_workers // 4)
    return Pool(*worker_range(config.cpu_workers or f"1:{most}"), {"num_cpus": TASK_CPUS})


def lines(job: Job, pools: dict[str, Pool], device: str) -> list[Actors]:
    """The actors of a run in the order of the data.

    Args:
        job: The run.
        pools: Workers with a backbone by stage.
        device: Where the backbones compute.
    """
    config = job.config
    hang = config.batch_timeout or _HANG_SECONDS
    build: Callable[[], Stage] = partial(
        EncodeWorker,
        job.out,
        config.formats,
        config.map_dtype,
        map_stride=config.map_stride,
        npy_layout=config.npy_layout,
    )
    encode = (build, Journal(job.out, "encode", hang))
    build = partial(DecodeWorker, config.max_pixels)
    decode = (build, Journal(job.out, "decode", hang))
    stages: dict[str, list[Build]] = {}
    for name in pools:
        build = partial(_KERNELS[name].load, job.backbone, config, device)
        stages[name] = [(build, Journal(job.out, name, config.batch_timeout))]
    apart = _on_gpus(pools)
    if not apart:
        names = list(pools)
        stages[names[0]].insert(0, decode)
        stages[names[-1]].append(encode)
    found = [Actors(_ACTORS[name], pool, stages[name]) for name, pool in pools.items()]
    if apart:
        beside = helpers(pools, config)
        found = [Actors(Decode, beside, [decode]), *found, Actors(Encode, beside, [encode])]
    return found


def _on_gpus(pools: dict[str, Pool]) -> bool:
    return any("num_gpus" in one.resources for one in pools.values())

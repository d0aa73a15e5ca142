"""How a run begins: OUT is ours, its plan is there, and settings and data are those of the plan."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.commit import forget_failed, recover
from pipeline.config import RunConfig
from pipeline.files import Folder
from pipeline.layout import (
    CHECKPOINT_FOLDER,
    JOURNAL_FOLDER,
    LEASE_FILE,
    MAPS_FOLDER,
    NPY_FOLDER,
    PLAN_FOLDER,
    RUN_FILE,
)
from pipeline.lease import Lease
from pipeline.planning import Dataset, plan_config
from pipeline.record import (
    PLANNED,
    PLANNING,
    RUNNING,
    check_same,
    new_record,
    read_record,
    write_record,
)
from pipeline.replan import plan_failed_again
from pipeline.scheduler import Plan
from pipeline.stages import BackboneSpec, kernel
from sess_kernels import SESS
from sess_kernels.backbones.runtimes import check_installed
from sess_kernels.errors import SessError, one_line

_OF_OUT = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass
class Begun:
    """A run whose plan is there.

    Attributes:
        out: Its folder.
        config: Its settings.
        spec: Its backbone.
        plan: Its plan.
        record: What ``run.json`` says.
        lease: The right to write to ``out``.
        began: When it began, by ``time.perf_counter``.
    """

    out: Folder
    config: RunConfig
    spec: BackboneSpec
    plan: Plan
    record: dict[str, Any]
    lease: Lease
    began: float


@contextmanager
def prepared(source: str, out: str | Path, config: RunConfig, overwrite: bool) -> Iterator[Begun]:
    """The run with its plan, made now or found, while nobody else may write to OUT.

    Args:
        source: As in ``run.run``.
        out: Likewise.
        config: Likewise.
        overwrite: Likewise.

    Raises:
        SessError: As ``run.run``.
    """
    began = time.perf_counter()
    dataset, spec = Dataset(source, config), BackboneSpec.of(config)
    dataset.tables()  # faults of the source before anything is loaded or touched
    explain = _checked(spec, config)
    folder = Folder.of(out)
    now = new_record(source, config, spec, explain.backbone)
    _check_writable(folder)
    with _written(folder), Lease(folder) as lease:
        earlier = None if overwrite else read_record(folder)
        if earlier is None or earlier["state"] == PLANNING:
            record = _plan_anew(folder, dataset, now, explain)
        else:
            check_same(folder, earlier, now)
            dataset.check_same(folder, Plan.of(earlier["dataset"]), explain)
            record = earlier | {"config": now["config"]}
        plan_ = Plan.of(record["dataset"])
        yield Begun(folder, config, spec, plan_, record, lease, began)


@contextmanager
def reopened(out: str | Path) -> Iterator[Begun]:
    """A run that is there, its failed rows taken out of it, while nobody else may write to OUT.

    Args:
        out: Folder of the run.

    Raises:
        SessError: As ``run.retry``.
    """
    began, folder = time.perf_counter(), Folder.of(out)
    record = read_record(folder)
    if record is None or record["state"] == PLANNING:
        raise SessError(f"{out} holds no run; is it the --out of a `sess run`?")
    config = RunConfig(**record["config"])
    spec = BackboneSpec.of(config)
    explain = _checked(spec, config)
    check_same(folder, record, new_record(record["source"], config, spec, explain.backbone))
    with _written(folder), Lease(folder) as lease:
        write_record(folder, record | {"state": RUNNING})  # broken off from here on, it is resumed
        (folder / JOURNAL_FOLDER).delete()
        recover(folder)
        forget_failed(folder)
        settings = plan_config(config, explain)
        plan = plan_failed_again(folder / PLAN_FOLDER, Plan.of(record["dataset"]), settings)
        record["dataset"] = plan.to_dict()
        write_record(folder, record | {"state": RUNNING})
        yield Begun(folder, config, spec, plan, record, lease, began)


def _checked(spec: BackboneSpec, config: RunConfig) -> SESS:
    """The kernel, for its checks and sizes: nothing is compiled for the driver, which runs none."""
    check_installed(config.runtime)
    return kernel(spec.load(), replace(config, runtime="torch"))


def _plan_anew(
    out: Folder, dataset: Dataset, record: dict[str, Any], explain: SESS
) -> dict[str, Any]:
    """Plan beside what is in OUT, which stays until the plan is whole."""
    fresh = out / f"{PLAN_FOLDER}.new"
    fresh.delete()
    try:
        found = dataset.write_plan(fresh, explain)
    except BaseException:
        fresh.delete()
        raise
    write_record(out, record)
    for name in (MAPS_FOLDER, CHECKPOINT_FOLDER, NPY_FOLDER, PLAN_FOLDER, JOURNAL_FOLDER):
        (out / name).delete()
    for name in found.files:
        fresh.move(name, out / PLAN_FOLDER)
    fresh.delete()
    planned = record | {"state": PLANNED, "dataset": found.to_dict()}
    write_record(out, planned)
    return planned


def _check_writable(out: Folder) -> None:
    """Refuse an OUT that may not be written to, and leave what is in it alone."""
    try:
        known = out.exists(RUN_FILE) or out.exists(LEASE_FILE)
        if not known and not out.is_empty():
            raise SessError(f"{out.uri} is not empty and holds no run; give another --out")
        out.create()
        out.write(".probe", b"")
        out.remove(".probe")
    except OSError as error:
        raise SessError(
            f"--out {out.uri} cannot be written: {error.strerror or one_line(error)}; "
            "give a folder that you may write to"
        ) from error


@contextmanager
def _written(out: Folder) -> Iterator[None]:
    """One line for a disk that is full or a store that is gone, whoever finds it."""
    try:
        yield
    except OSError as error:
        if error.errno in _OF_OUT:
            raise SessError(
                f"--out {out.uri} cannot be written: {error.strerror or one_line(error)}; "
                "make room there or mend it, and give the same command again to go on"
            ) from error
        raise SessError(
            f"the run in {out.uri} broke off: {one_line(error)}; "
            "mend the cause, and give the same command again to go on"
        ) from error

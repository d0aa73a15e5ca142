"""``OUT/run.json``: what a run was asked for and what became of it, and whether another fits it."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from dataclasses import asdict, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pipeline.config import RunConfig, binding
from pipeline.files import Folder
from pipeline.layout import RUN_FILE
from pipeline.nearby import nearby
from pipeline.stages import BackboneSpec
from sess_kernels import Backbone
from sess_kernels.errors import SessError
from sess_kernels.saliency import base_method

PLANNING, PLANNED, RUNNING, COMPLETE = "planning", "planned", "running", "complete"
_PACKAGES = ("sess-pipeline", "torch", "torchvision", "timm", "ray", "pyarrow", "numpy", "pillow")
_RUNTIMES = {"openvino": ("openvino",)}
_SHOWN = 6


def read_record(out: Folder) -> dict[str, Any] | None:
    """What ``run.json`` says, or ``None`` if there is none.

    Raises:
        SessError: If it is no record of a run.
    """
    try:
        record = out.read_json(RUN_FILE)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise SessError(f"{out.uri}/{RUN_FILE} is no record of a run; remove it") from error
    if not isinstance(record, dict) or "state" not in record:
        raise SessError(f"{out.uri}/{RUN_FILE} is no record of a run; remove it")
    return record


def write_record(out: Folder, record: dict[str, Any]) -> None:
    """Write ``run.json`` as a whole."""
    out.write(RUN_FILE, json.dumps(record, indent=1).encode() + b"\n")


def new_record(
    source: str, config: RunConfig, spec: BackboneSpec, backbone: Backbone
) -> dict[str, Any]:
    """The record of a run that is about to begin."""
    method = base_method(config.method, config.method_options)
    record = {
        "state": PLANNING,
        "source": source,
        "config": asdict(config),
        "resolved": {
            "backbone": backbone.name,
            "target_layer": backbone.target_layer,
            "preprocessing": asdict(backbone.preprocessing),
            "window_size": config.for_input(backbone.input_size).window_size,
            "options_of_method": asdict(method),  # type: ignore[call-overload]
            "class_groups": spec.class_groups,
            "class_names": backbone.class_names,
            "weights_sha256": _digest(config.weights) if config.weights else None,
        },
        "versions": _versions((*_PACKAGES, *_RUNTIMES.get(config.runtime, ())))
        | {"python": platform.python_version(), "torch": torch.__version__},
        "git_revision": _git_revision(),
        "command": sys.argv,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    found: dict[str, Any] = json.loads(json.dumps(record))  # as it will be read again
    return found


def check_same(out: Folder, earlier: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on with a run whose maps would differ.

    Raises:
        SessError: With the differences.
    """
    defaults = {one.name: one.default for one in fields(RunConfig)}
    # a setting as it was asked for tells more than what it was resolved to
    was = earlier["resolved"] | binding(defaults | earlier["config"])
    is_ = now["resolved"] | binding(now["config"])
    differ = [name for name in is_ if name in was and was[name] != is_[name]]
    if differ:
        shown = [f"{name} {_short(is_[name])} (was {_short(was[name])})" for name in differ]
        more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
        raise SessError(
            f"{out.uri} holds a run with other settings: {', '.join(shown[:_SHOWN])}{more}; "
            "give them as they were to go on, another --out, or --overwrite"
        )


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    return {name: version(name) for name in packages}


def _short(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= 60 else f"{text[:57]}..."


def _digest(uri: str) -> str:
    return hashlib.sha256(nearby(uri).read_bytes()).hexdigest()


def _git_revision() -> str | None:
    """Revision of the working copy this package runs from, if it does."""
    here = Path(__file__).resolve().parents[1]
    if not (here / ".git").exists():
        return None
    try:
        said = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()

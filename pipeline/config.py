"""Settings of a run: those of SESS and those of the pipeline around it, in one flat namespace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from sess_kernels.config import SESSConfig
from sess_kernels.errors import unknown
from sess_kernels.scorer import PRECISIONS

ENGINES = ("ray", "local")
FORMATS = ("parquet", "npy")
MAP_DTYPES = ("uint8", "uint16", "float16", "float32")
_TEXTS = (
    "labels",
    "backbone",
    "method",
    "engine",
    "device",
    "precision",
    "format",
    "map_dtype",
    "channel_weights",
    "fusion",
)
_OPTIONAL_TEXTS = ("weights", "target_layer", "class_groups", "address")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class RunConfig(SESSConfig):
    """Settings of a run.

    Attributes:
        labels: ``given`` (what the source carries), ``predicted`` (the best classes by mean
            probability over the windows of the first scale), or a table of images and labels.
        top_k: Classes an image with predicted labels.
        backbone: ``lite0``, ``torchvision/NAME``, ``timm/NAME`` or ``module:callable``.
        weights: File with a state dict to use instead of the published weights.
        target_layer: Layer to explain; the last feature map before pooling if not given.
        class_groups: JSON file that makes several outputs of the backbone one class:
            ``{"cat": [281, 282], ...}``; labels then name these classes.
        method: Base saliency method.
        method_options: Options of that method by name, as ``--method-options.n-masks 500``.
        precision: ``fp32``; ``fast`` scores patches in bfloat16 and repeats in float32 what the
            pre-filter may keep; ``bf16`` and ``fp16`` score in that precision alone.
        engine: ``ray`` or ``local`` (this process).
        address: Address of a Ray cluster; Ray is started here if not given.
        workers: Backbone workers; one for each core, or each GPU, if not given.
        threads: CPU threads of each backbone worker; part of what defines a map's bits.
        batch_size: Patches of a device batch; likewise. 4 on CPU and 128 on CUDA if not given.
        device: ``auto``, ``cpu`` or ``cuda``.
        format: ``parquet`` (maps inside the rows), ``npy`` (a file for each map), or both with a
            comma between.
        map_dtype: ``uint8`` or ``uint16`` (PNG), ``float16`` or ``float32`` (raw).
        keep_patches: Store the map, window and score of every kept patch beside the maps.
        limit: Take only the first images.

    Raises:
        ConfigError: One message for all values that are out of range.

    Example:
        >>> RunConfig(format="parquet,npy").formats
        ('parquet', 'npy')
    """

    labels: str = "given"
    top_k: int = 1
    backbone: str = "lite0"
    weights: str | None = None
    target_layer: str | None = None
    class_groups: str | None = None
    method: str = "gradcam"
    method_options: dict[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    engine: str = "ray"
    address: str | None = None
    workers: int | None = None
    threads: int = 1
    batch_size: int | None = None
    device: str = "auto"
    format: str = "parquet"
    map_dtype: str = "uint8"
    keep_patches: bool = False
    limit: int | None = None

    @property
    def formats(self) -> tuple[str, ...]:
        """The output formats, one by one."""
        return tuple(part.strip() for part in self.format.split(","))

    def faults(self) -> list[str]:
        """One sentence for every value that is out of range."""
        texts = {name: getattr(self, name) for name in _TEXTS}
        texts |= {name: getattr(self, name) or "" for name in _OPTIONAL_TEXTS}
        found = [f"{k} must be text but got {v!r}" for k, v in texts.items() if type(v) is not str]
        if found:
            return super().faults() + found
        chosen: list[tuple[str, str, Iterable[str]]]
        chosen = [("engine", self.engine, ENGINES), ("device", self.device, DEVICES)]
        chosen += [("map_dtype", self.map_dtype, MAP_DTYPES)]
        chosen += [("precision", self.precision, PRECISIONS)]
        chosen += [("format", name, FORMATS) for name in self.formats]
        found = [unknown(what, got, known) for what, got, known in chosen if got not in known]
        if self.address and self.engine != "ray":
            found.append("address names a Ray cluster but engine is 'local'; leave one out")
        if type(self.method_options) is not dict:  # a file may give anything
            found.append(f"method_options must map names to values but got {self.method_options!r}")
        return super().faults() + found

    def _counts(self) -> dict[str, Any]:
        optional = {name: getattr(self, name) for name in ("workers", "batch_size", "limit")}
        given = {name: value for name, value in optional.items() if value is not None}
        return super()._counts() | {"top_k": self.top_k, "threads": self.threads} | given


def faults_of(values: dict[str, Any], where: str) -> list[str]:
    """One sentence for every key that ``RunConfig`` does not have.

    Example:
        >>> faults_of({"scale": 10}, "run.yaml")[0][:47]
        "run.yaml: unknown key 'scale'; did you mean 'sc"
    """
    known = [one.name for one in fields(RunConfig)]
    return [f"{where}: {unknown('key', key, known)}" for key in values if key not in known]

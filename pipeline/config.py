"""Settings of a run: those of SESS and those of the pipeline around it, in one flat namespace."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from sess_kernels.backbones.runtimes import RUNTIMES
from sess_kernels.config import SESSConfig
from sess_kernels.errors import unknown
from sess_kernels.precision import PRECISIONS

ENGINES = ("ray", "local")
TOPOLOGIES = ("auto", "fused", "split")
FORMATS = ("parquet", "npy")
NPY_LAYOUTS = ("plain", "irn", "psa", "wsol")
MAP_DTYPES = ("uint8", "uint16", "float16", "float32")
_TEXTS = (
    "labels",
    "backbone",
    "method",
    "engine",
    "topology",
    "device",
    "precision",
    "runtime",
    "format",
    "map_dtype",
    "npy_layout",
    "channel_weights",
    "fusion",
)
_OPTIONAL_TEXTS = (
    *("weights", "target_layer", "class_groups"),
    *("address", "accelerator", "pre_filter_accelerator"),
)
DEVICES = ("auto", "cpu", "cuda")
MAX_PIXELS = 2**28
_FREE = (
    "engine",
    "address",
    "topology",
    "workers",
    "pre_filter_workers",
    "cpu_workers",
    "gpus_per_worker",
    "accelerator",
    "pre_filter_accelerator",
    "device",
    "batch_timeout",
    "max_errors",
    "weights",
    "class_groups",
    "method_options",
)
"""Settings that a run may change when it is resumed: no map depends on them, or the record has what
they came to."""


@dataclass(frozen=True, kw_only=True)
class RunConfig(SESSConfig):
    """Settings of a run.

    Attributes:
        labels: ``given`` (what the source carries), ``predicted`` (the best classes by mean
            probability over the windows of the first scale), or a table of images and labels.
        top_k: Classes an image with predicted labels.
        backbone: ``lite0``, ``torchvision/NAME``, ``timm/NAME``, ``torchray/NAME`` (classifiers of
            the pointing game, such as vgg16_voc) or ``module:callable``.
        weights: File to use instead of the published weights: a state dict, or one with
            ``class_names`` and ``scores`` beside it, as ``examples/finetune`` writes.
        target_layer: Layer to explain; the last feature map before pooling if not given.
        class_groups: ``voc20``, ``coco80`` or a JSON file that makes several outputs of the
            backbone one class: ``{"cat": [281, 282], ...}``; labels then name these classes.
        method: Base saliency method.
        method_options: Options of that method by name, as ``--method-options.n-masks 500``.
        precision: ``fp32``; ``fast`` scores patches in bfloat16 and repeats in float32 what the
            pre-filter may keep; ``bf16`` and ``fp16`` score in that precision alone.
        runtime: What runs forwards that are not differentiated: ``torch``; ``compile``, which is
            ``torch.compile``; or ``openvino``, on CPUs.
        engine: ``ray`` or ``local`` (this process).
        address: Address of a Ray cluster; Ray is started here if not given.
        topology: ``fused`` (a worker scores patches and explains the kept ones), ``split`` (the
            pre-filter has workers of its own), or ``auto``: what costs less.
        workers: Backbone workers, or ``MIN:MAX`` of a pool that grows and shrinks; one for each
            core, or each GPU, if not given. With ``split``, those that explain.
        pre_filter_workers: The same for those that score, with ``split``.
        cpu_workers: Workers without a backbone, or ``MIN:MAX``, for each of decoding, encoding and
            writing; ``1`` to four for each backbone worker on a GPU if not given. Backbone workers
            on CPUs decode and encode themselves; for four of them one writes.
        gpus_per_worker: GPUs that each books, a fraction if several share one.
        accelerator: Kind of accelerator that backbone workers must have, as Ray names it.
        pre_filter_accelerator: The same for those that score.
        threads: CPU threads of each backbone worker; part of what defines a map's bits.
        batch_size: Patches of a device batch; likewise. 4 on CPU and 128 on CUDA if not given.
        device: ``auto``, ``cpu`` or ``cuda``.
        format: ``parquet`` (maps inside the rows), ``npy`` (a file for each map), or both with a
            comma between.
        npy_layout: Of the NPY files: ``plain`` (a file for each map), or one for each image as
            ``irn``, ``psa`` or ``wsol`` (the class with the best score) programs read it.
        map_dtype: ``uint8`` or ``uint16`` (PNG), ``float16`` or ``float32`` (raw).
        map_stride: Store the maps reduced by this factor; readers enlarge them again. NPY files
            keep their full size.
        keep_patches: Store the map, window and score of every kept patch beside the maps.
        max_pixels: Images of more pixels fail before they are decoded.
        batch_timeout: Seconds after which a worker that has not ended a shard is taken for hung;
            none for those with a backbone if not given. Engine ``ray`` alone.
        max_errors: Failed rows, or percent of the rows as ``20%``, above which the run stops.
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
    runtime: str = "torch"
    engine: str = "ray"
    address: str | None = None
    topology: str = "auto"
    workers: int | str | None = None
    pre_filter_workers: int | str | None = None
    cpu_workers: int | str | None = None
    gpus_per_worker: float | None = None
    accelerator: str | None = None
    pre_filter_accelerator: str | None = None
    threads: int = 1
    batch_size: int | None = None
    device: str = "auto"
    format: str = "parquet"
    npy_layout: str = "plain"
    map_dtype: str = "uint8"
    map_stride: int = 1
    keep_patches: bool = False
    max_pixels: int = MAX_PIXELS
    batch_timeout: float | None = None
    max_errors: int | str = "50%"
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
            return super().faults() + found + self._faults_of_placement()
        chosen: list[tuple[str, str, Iterable[str]]]
        chosen = [("engine", self.engine, ENGINES), ("device", self.device, DEVICES)]
        chosen += [("topology", self.topology, TOPOLOGIES)]
        chosen += [("map_dtype", self.map_dtype, MAP_DTYPES)]
        chosen += [("npy_layout", self.npy_layout, NPY_LAYOUTS)]
        chosen += [("precision", self.precision, PRECISIONS), ("runtime", self.runtime, RUNTIMES)]
        chosen += [("format", name, FORMATS) for name in self.formats]
        found = [unknown(what, got, known) for what, got, known in chosen if got not in known]
        if self.address and self.engine != "ray":
            found.append("address names a Ray cluster but engine is 'local'; leave one out")
        lost = self.npy_layout == "wsol" or (self.npy_layout == "irn" and not self.normalize)
        if lost and "parquet" not in self.formats:  # one class alone, or maps without their scale
            found.append(f"npy_layout {self.npy_layout!r} does not keep all; add format 'parquet'")
        if self.npy_layout != "plain" and "npy" not in self.formats:
            found.append(f"npy_layout {self.npy_layout!r} needs format 'npy'; add it")
        if type(self.method_options) is not dict:  # a file may give anything
            found.append(f"method_options must map names to values but got {self.method_options!r}")
        return super().faults() + found + self._faults_of_placement()

    def _faults_of_placement(self) -> list[str]:
        found = []
        for name in ("workers", "pre_filter_workers", "cpu_workers"):
            value = getattr(self, name)
            try:
                least, most = (1, 1) if value is None else worker_range(value)
            except ValueError:
                least, most = 0, 0
            if not 1 <= least <= most:
                found.append(f"{name} must be a number from 1, or MIN:MAX, but got {value!r}")
        for name in ("gpus_per_worker", "batch_timeout"):
            value = getattr(self, name)
            if value is not None and (type(value) not in (int, float) or not value > 0):
                found.append(f"{name} must be above 0 but got {value!r}")
        if self.engine == "local" and self.topology == "split":
            found.append("topology 'split' needs engine 'ray'; leave one out")
        if not re.fullmatch(r"[0-9]+|[0-9]+(\.[0-9]+)?%", str(self.max_errors)):
            found.append(
                f"max_errors must be a number of rows, or percent as 20%, but got "
                f"{self.max_errors!r}"
            )
        return found

    def _counts(self) -> dict[str, Any]:
        optional = {name: getattr(self, name) for name in ("batch_size", "limit")}
        given = {name: value for name, value in optional.items() if value is not None}
        for name in ("top_k", "threads", "max_pixels", "map_stride"):
            given[name] = getattr(self, name)
        return super()._counts() | given


def binding(config: dict[str, Any]) -> dict[str, Any]:
    """Those settings of a run that its maps depend on.

    Example:
        >>> "workers" in binding({"workers": 2, "scales": 10})
        False
    """
    return {name: value for name, value in config.items() if name not in _FREE}


def worker_range(workers: int | str) -> tuple[int, int]:
    """The least and the most workers of a pool.

    Raises:
        ValueError: If it is neither a number nor ``MIN:MAX``.

    Example:
        >>> worker_range("2:8"), worker_range(4)
        ((2, 8), (4, 4))
    """
    least, _, most = str(workers).partition(":")
    return int(least), int(most or least)


def faults_of(values: dict[str, Any], where: str) -> list[str]:
    """One sentence for every key that ``RunConfig`` does not have.

    Example:
        >>> faults_of({"scale": 10}, "run.yaml")[0][:47]
        "run.yaml: unknown key 'scale'; did you mean 'sc"
    """
    known = [one.name for one in fields(RunConfig)]
    return [f"{where}: {unknown('key', key, known)}" for key in values if key not in known]

"""Settings of an evaluation, in one flat namespace."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from pipeline.config import DEVICES, ENGINES
from sess_kernels.backbones.runtimes import RUNTIMES
from sess_kernels.errors import ConfigError, unknown
from sess_kernels.metrics import CurveSettings
from sess_kernels.pseudo import BoxConfig

METRICS = (
    "pointing",
    "insertion",
    "max_box_acc",
    "pxap",
    "localisation",
    "corloc",
    "miou",
    "time",
)
"""What maps may be judged by."""

PLACEMENT = (
    *("engine", "address", "workers", "gpus_per_worker"),
    *("device", "threads", "batch_size", "runtime"),
)
"""Settings of a run that an evaluation may have otherwise."""

_FREE = ("engine", "address", "workers", "gpus_per_worker", "device", "resamples")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(BoxConfig):
    """Settings of an evaluation; see also ``BoxConfig``, for ``corloc`` and ``localisation``.

    Attributes:
        metric: ``pointing`` (the pointing game, all and difficult), ``insertion`` (insertion,
            deletion and overall), ``max_box_acc`` (MaxBoxAccV2 and its parts), ``pxap`` (of
            masks), ``localisation`` (GT-known and top-1), ``corloc``, ``miou`` (of pseudo-masks,
            at the background that serves best) and ``time`` (of the run, for each image); several
            with commas between or one by one.
        tolerance: Pixels by which a point may miss a box or region; TorchRay has 15.
        share: Share of the pixels that a step of insertion or deletion moves.
        blur_size: Side of the Gaussian blur that insertion begins with, in pixels.
        blur_sigma: Its standard deviation in pixels.
        start: What insertion begins with: ``blur``, ``zero`` (after normalisation, the image's
            mean in training), ``mean`` (of the image) or ``black``.
        baseline: What deletion leaves in place of pixels, likewise.
        map_size: Side to which maps and boxes are squeezed for ``max_box_acc``, 224 in
            wsolevaluation; the size of the image if not given.
        resamples: Resamples of an interval.
        limit: Take only the first images.
        engine: ``ray`` or ``local``; that of the run if not given.
        address: Address of a Ray cluster, likewise.
        workers: Workers that judge, likewise.
        gpus_per_worker: GPUs that each books, likewise.
        device: ``auto``, ``cpu`` or ``cuda``, likewise.
        threads: CPU threads of each worker, likewise.
        batch_size: Images of a forward for ``insertion``, likewise.
        runtime: What runs these forwards, likewise.

    Raises:
        ConfigError: One message for all values that are out of range.

    Example:
        >>> EvaluationConfig(metric=("pointing,corloc", "miou")).metrics
        ('pointing', 'corloc', 'miou')
        >>> EvaluationConfig(metric=("corlocs",))
        Traceback (most recent call last):
        ...
        sess_kernels.errors.ConfigError: unknown metric 'corlocs'; did you mean 'corloc'? known: ...
    """

    metric: tuple[str, ...] = ("pointing",)
    tolerance: float = 0
    share: float = 0.036
    blur_size: int = 51
    blur_sigma: float = 50.0
    start: str = "blur"
    baseline: str = "zero"
    map_size: int | None = None
    resamples: int = 1000
    limit: int | None = None
    engine: str | None = None
    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float | None = None
    device: str | None = None
    threads: int | None = None
    batch_size: int | None = None
    runtime: str | None = None

    def __post_init__(self) -> None:
        if found := self.faults():
            raise ConfigError(found)

    def faults(self) -> list[str]:
        """One sentence for every value that is out of range."""
        found: list[str] = []
        for part in ("boxes", "curves"):
            try:
                getattr(self, part)
            except (ConfigError, ValueError) as error:
                found += getattr(error, "faults", None) or [str(error)]
        found += [unknown("metric", name, METRICS) for name in self.metrics if name not in METRICS]
        if not self.metrics:
            found.append(f"metric must name at least one of {', '.join(METRICS)}")
        chosen = [("engine", self.engine, ENGINES), ("device", self.device, DEVICES)]
        chosen.append(("runtime", self.runtime, RUNTIMES))
        found += [
            unknown(what, got, known) for what, got, known in chosen if got and got not in known
        ]
        if not (isinstance(self.tolerance, int | float) and self.tolerance >= 0):
            found.append(f"tolerance must be a number of at least 0 but got {self.tolerance!r}")
        for name in ("map_size", "resamples", "limit", "workers", "threads", "batch_size"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                found.append(f"{name} must be a whole number of at least 1 but got {value!r}")
        return found

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics, one by one, each once."""
        names = (name.strip() for one in self.metric for name in one.split(","))
        return tuple(dict.fromkeys(filter(None, names)))

    @property
    def boxes(self) -> BoxConfig:
        """Those of them that are settings of pseudo-boxes."""
        settings: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(BoxConfig)}
        return BoxConfig(**settings)

    @property
    def curves(self) -> CurveSettings:
        """Those of them that are settings of insertion and deletion."""
        return CurveSettings(
            share=self.share,
            start=self.start,
            baseline=self.baseline,
            blur=(self.blur_size, self.blur_sigma),
        )

    @property
    def binding(self) -> dict[str, Any]:
        """Those of them that judgements depend on."""
        settings = asdict(self) | {"metric": list(self.metrics)}
        return {name: value for name, value in settings.items() if name not in _FREE}

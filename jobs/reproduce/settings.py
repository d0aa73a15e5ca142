"""What ``sess reproduce`` is asked for."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from typing import Annotated, Any

from cyclopts import Parameter

from jobs.reproduce.experiment import Method, Network
from pipeline.sources import SOURCES, guess
from pipeline.sources.options import with_options
from sess_kernels.errors import ConfigError, unknown
from sess_kernels.saliency import METHODS

Several = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative_iterable="")]
_PLACES = ("engine", "address", "workers", "device")  # change no figure


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig:
    """Settings of ``sess reproduce``; where one is not given the paper's is taken.

    Attributes:
        data: Sources of photographs with labels, as in ``sess run``; for figures of single
            photographs those of scikit-image if not given.
        truth: Boxes or masks of each source, as in ``sess evaluate``; of ``voc:`` and ``coco:``
            the source's own if not given.
        out: Folder for results, tables, plots and the maps that they are made of.
        limit: Take only so many of the paper's random images.
        backbone: Backbones in place of the paper's, as in ``sess run``.
        method: Base methods in place of the paper's.
        metric: What maps are judged by, as in ``sess evaluate``, in place of the paper's.
        labels: Where the classes come from, as in ``sess run``.
        class_groups: As in ``sess run``.
        weights: File with a state dict, for one backbone.
        target_layer: Layer to explain of ``--backbone``.
        engine: ``ray`` or ``local`` (this process).
        address: Address of a Ray cluster; Ray is started here if not given.
        workers: Backbone workers, or ``MIN:MAX``.
        threads: CPU threads of each.
        batch_size: Patches of a device batch.
        device: ``auto``, ``cpu`` or ``cuda``.
        runtime: What runs forwards that are not differentiated: ``torch``, ``compile``,
            ``openvino``.

    Raises:
        ConfigError: One message for all values that make no sense.

    Example:
        >>> ReproduceConfig(data=("photos",), backbone=("lite0",), limit=8).command("table1")
        'sess reproduce table1 --data photos --limit 8 --backbone lite0'
    """

    data: Several = ()
    truth: Several = ()
    out: str = "sess-results"
    limit: int | None = None
    backbone: Several = ()
    method: Several = ()
    metric: Several = ()
    labels: str = "given"
    class_groups: str | None = None
    weights: str | None = None
    target_layer: str | None = None
    engine: str = "ray"
    address: str | None = None
    workers: int | str | None = None
    threads: int = 1
    batch_size: int | None = None
    device: str = "auto"
    runtime: str = "torch"

    def __post_init__(self) -> None:
        found = [unknown("method", one, METHODS) for one in self.method if one not in METHODS]
        if self.truth and len(self.truth) != len(self.data):
            found.append(
                f"truth must be given once for each data ({len(self.data)}) but is given "
                f"{len(self.truth)} times"
            )
        if self.limit is not None and self.limit < 1:
            found.append(f"limit must be at least 1 but got {self.limit}")
        if self.weights and len(self.backbone) != 1:
            found.append("weights are those of one backbone; name it with --backbone")
        if self.target_layer and not self.backbone:
            found.append("target_layer is one of a backbone; name that with --backbone")
        if found:
            raise ConfigError(found)

    def sources(self) -> list[Data]:
        """The sources with the truth about each."""
        truths = self.truth or (None,) * len(self.data)
        return [Data.of(*pair) for pair in zip(self.data, truths, strict=True)]

    def networks(self, paper: tuple[Network, ...]) -> tuple[Network, ...]:
        """The backbones asked for; one of the paper's with the layer that the paper explains."""
        layers = {one.name: one.target_layer for one in paper}
        return tuple(
            Network(name, self.target_layer or layers.get(name)) for name in self.backbone
        ) or tuple(paper)

    def methods(self, paper: tuple[Method, ...]) -> tuple[Method, ...]:
        """The methods asked for; one of the paper's with its options there."""
        known = {one.name: one for one in paper}
        return tuple(known.get(name, Method(name)) for name in self.method) or tuple(paper)

    def placement(self) -> dict[str, Any]:
        """Settings of ``RunConfig`` that say where and how a run goes."""
        names = (*_PLACES, "threads", "batch_size", "runtime")
        return {name: getattr(self, name) for name in names}

    def command(self, what: str) -> str:
        """The command that makes one table or figure, as for a shell."""
        said = ["sess", "reproduce", what]
        for one in fields(self):
            value = getattr(self, one.name)
            if value != one.default and one.name != "out":
                values = value if isinstance(value, tuple) else (value,)
                said += [f"--{one.name.replace('_', '-')}", *map(str, values)]
        return shlex.join(said)


@dataclass(frozen=True)
class Data:
    """A source of photographs and what is known of them.

    Attributes:
        source: As in ``sess run``.
        kind: Its kind.
        truth: As in ``sess evaluate``.
    """

    source: str
    kind: str
    truth: str | None = None

    @classmethod
    def of(cls, source: str, truth: str | None = None) -> Data:
        """A source; PASCAL VOC and COCO have their truth with them.

        Example:
            >>> Data.of("voc:VOCdevkit?year=2007&split=test").truth
            'voc:VOCdevkit?year=2007'
            >>> Data.of("coco:val.json?images=val2014").truth
            'coco:val.json'
        """
        kind, colon, path = source.partition(":")
        if not colon or path.startswith("//"):
            kind, path = guess(source), source
        if truth is None and kind in ("voc", "coco"):
            options = ("split", "year", "difficult", "images")
            path, said = with_options(kind, path, options)
            year = f"?year={said['year']}" if "year" in said else ""
            truth = f"{kind}:{path}{year}"
        return cls(source, kind if kind in SOURCES else "", truth)

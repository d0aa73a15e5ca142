"""What the paper did: its experiments as they stand in ``configs/*.yaml``, with what it printed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from sess_kernels.errors import SessError, unknown

WHATS = (
    *("table1", "table2", "table3", "fig5", "fig6", "fig7", "fig9", "fig10", "fig11"),
    *("theta", "weights", "steps"),
)
"""Tables and figures of the paper in their order, then ablations that it has no numbers of."""


@dataclass(frozen=True)
class Network:
    """A backbone of an experiment.

    Attributes:
        name: As in ``sess run --backbone``.
        target_layer: Layer to explain; the backbone's default if not given.
        data: Kind of the source that it is for; any if not given.
    """

    name: str
    target_layer: str | None = None
    data: str | None = None


@dataclass(frozen=True)
class Method:
    """A base method of an experiment.

    Attributes:
        name: As in ``sess run --method``.
        options: Its options.
        runs: Names of the runs that it takes part in; all if not given.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vary:
    """One setting over several values, from the patches of one run.

    Attributes:
        setting: Its name in ``SESSConfig``.
        title: What the axis of a plot says.
        values: The values.
    """

    setting: str
    title: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Run:
    """Settings with which every backbone and method of an experiment runs.

    Attributes:
        name: Unlike those of the other runs.
        settings: Of ``RunConfig``.
        step: Step of the window as a part of it, where that is not the settings'.
        against: Name of the run that it should be better than, if any.
        variants: Changes of settings by name, made from the patches of this run.
        vary: The same for one setting, where the figures make a curve.
    """

    name: str
    settings: dict[str, Any]
    step: float | None = None
    against: str | None = None
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    vary: Vary | None = None

    def changes(self) -> dict[str, dict[str, Any]]:
        """Changes of settings by the name of the variant, those of the curve among them.

        Example:
            >>> Run("SESS", {}, vary=Vary("scales", "number of scales", (1, 2))).changes()
            {'scales = 1': {'scales': 1}, 'scales = 2': {'scales': 2}}
        """
        one = self.vary
        curve = {f"{one.setting} = {v}": {one.setting: v} for v in one.values} if one else {}
        return self.variants | curve


@dataclass(frozen=True)
class Experiment:
    """A table or figure of the paper, or an ablation in its manner.

    Attributes:
        name: One of ``WHATS``.
        title: Its heading.
        paper: Its place in the paper.
        kind: ``quality`` (figures of maps), ``speed`` or ``pictures``.
        images: Images of the random subset; all if not given.
        seed: Of the choice.
        metrics: What the maps are judged by.
        metrics_with_truth: Likewise, where there is a ``--truth``.
        tolerance: Pixels of the pointing game.
        note: What a reader must know.
        backbones: The paper's.
        methods: Base methods and baselines.
        runs: With and without SESS, or other settings.
        printed: Figures that the paper printed, by ``backbone``, ``method``, ``run``, ``data``.
    """

    name: str
    title: str
    paper: str
    backbones: tuple[Network, ...]
    methods: tuple[Method, ...]
    runs: tuple[Run, ...]
    kind: str = "quality"
    images: int | None = None
    seed: int = 0
    metrics: tuple[str, ...] = ()
    metrics_with_truth: tuple[str, ...] = ()
    tolerance: int = 0
    note: str = ""
    printed: tuple[dict[str, Any], ...] = ()

    def figures_printed(self, **case: str) -> dict[str, float]:
        """Figures that the paper printed for a case: percent, or seconds.

        Args:
            case: Its ``backbone``, ``method``, ``run`` and ``data``.

        Example:
            >>> case = {"backbone": "torchvision/vgg16", "method": "gradcam", "run": "SESS"}
            >>> read_experiment("table1").figures_printed(**case, data="imagenet")
            {'insertion': 60.3, 'deletion': 8.1, 'overall': 52.2}
        """
        for one in self.printed:
            if all(one[key] == case[key] for key in one.keys() & case.keys()):
                return {key: value for key, value in one.items() if key not in case}
        return {}


@cache
def read_experiment(name: str) -> Experiment:
    """An experiment by its name.

    Raises:
        SessError: If there is none of that name.

    Example:
        >>> read_experiment("table1").images
        5000
    """
    if name not in WHATS:
        raise SessError(unknown("table or figure", name, WHATS))
    said: dict[str, Any] = yaml.safe_load(
        (files("jobs.reproduce") / f"configs/{name}.yaml").read_text()
    )
    said["methods"] = [_method(one) for one in said["methods"]]
    said["backbones"] = [Network(**one) for one in said["backbones"]]
    said["runs"] = [_run(one) for one in said["runs"]]
    frozen: dict[str, Any] = {
        key: tuple(one) if isinstance(one, list) else one for key, one in said.items()
    }
    return Experiment(name=name, **frozen)


def _method(said: dict[str, Any]) -> Method:
    return Method(**said | {"runs": tuple(said.get("runs", ()))})


def _run(said: dict[str, Any]) -> Run:
    vary = said.get("vary")
    found = vary and Vary(vary["setting"], vary["title"], tuple(vary["values"]))
    return Run(**said | {"vary": found})

"""Cases of an experiment: a backbone, a method and settings on a source, and the rows they give."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from jobs.reproduce.experiment import Experiment, Method, Network, Run
from jobs.reproduce.settings import Data, ReproduceConfig
from pipeline import RunConfig
from pipeline.stages.backbone import BackboneSpec
from sess_kernels.errors import SessError, one_line
from sess_kernels.saliency import METHODS

Row = dict[str, Any]
"""A line of a result: what it is of, ``figures`` (value, low, high by name) or ``error``, and what
the paper printed: percent, or seconds."""


@dataclass(frozen=True)
class Case:
    """What one run gives.

    Attributes:
        experiment: The experiment.
        data: The source.
        network: The backbone.
        method: The base method.
        run: The settings.
    """

    experiment: Experiment
    data: Data
    network: Network
    method: Method
    run: Run

    def row(self, variant: str = "", **found: Any) -> Row:
        """A row with what was found.

        Args:
            variant: Name of the change of settings, if it is one.
            found: ``figures`` or ``error``, and what else is worth telling.
        """
        change = self.run.changes().get(variant, {})
        vary = self.run.vary
        named = {"backbone": self.network.name, "method": self.method.name, "run": self.run.name}
        printed = self.experiment.figures_printed(**named, data=self.data.kind)
        return {
            "data": self.data.source,
            **named,
            "title": METHODS[self.method.name].title,
            "variant": variant,
            "at": change.get(vary.setting) if vary else None,
            "against": self.run.against,
            "printed": {} if variant else printed,
            **found,
        }

    def failed(self, error: Exception) -> Row:
        """A row with the reason why there are no figures."""
        return self.row(error=one_line(error))

    def config(self, settings: ReproduceConfig) -> RunConfig:
        """Settings of the run.

        Raises:
            SessError: If the backbone must be loaded to know its window, and cannot be.
        """
        config = RunConfig(
            **self.run.settings,
            **settings.placement(),
            labels="predicted" if settings.labels == "predicted" else "given",
            backbone=self.network.name,
            weights=settings.weights,
            target_layer=self.network.target_layer,
            class_groups=settings.class_groups,
            method=self.method.name,
            method_options=self.method.options,
            map_dtype="float32",
        )
        return config if self.run.step is None else _with_step(config, self.run.step)

    def key(self, settings: ReproduceConfig, digest: str) -> str:
        """A name for the maps, the same where they are the same.

        Args:
            settings: What was asked for.
            digest: Of the images.
        """
        asked: list[Any] = [self.run.settings, self.run.step]
        asked += [self.network.name, self.network.target_layer]
        asked += [self.method.name, self.method.options]
        asked += [settings.weights, settings.class_groups, settings.labels, digest]
        asked += [settings.threads, settings.batch_size, settings.runtime]
        name = re.sub("[^a-z0-9]+", "-", f"{self.network.name}-{self.method.name}".lower())
        return f"{name}-{digest_of(asked)}"


def digest_of(value: Any) -> str:
    """Eight hexadecimal digits that tell values apart.

    Example:
        >>> digest_of({"scales": 10}) == digest_of({"scales": 12})
        False
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def cases_of(experiment: Experiment, settings: ReproduceConfig, data: Data) -> Iterator[Case]:
    """Every run of an experiment on a source.

    Raises:
        SessError: If the experiment has no backbone for such a source.
    """
    networks = settings.networks(experiment.backbones)
    fitting = [one for one in networks if one.data in (None, data.kind)]
    if not fitting:
        kinds = sorted({str(one.data) for one in networks})
        raise SessError(
            f"{experiment.name} has backbones for {' and '.join(kinds)} but data is {data.source}; "
            "give --backbone"
        )
    for network in fitting:
        for method in settings.methods(experiment.methods):
            for run in experiment.runs:
                if run.name in (method.runs or (run.name,)):
                    yield Case(experiment, data, network, method, run)


def _with_step(config: RunConfig, share: float) -> RunConfig:
    side = BackboneSpec.of(config).load().input_size
    return replace(config, step_size=max(1, round(side * share)))

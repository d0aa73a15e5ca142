"""Which topology a run takes: a cost model of the method, the pre-filter and the classes.

With P patches an image, K of them kept by some class, f seconds for the forward of a patch and e
for the saliency of a kept one in a process of its own (the forward that gives its features
included), an image costs P f + K s in one worker and P f + K e in two, where s = e - f if the
method reuses the activations of the scoring forward, else s = e.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.config import RunConfig
from pipeline.engines.base import Job
from pipeline.stages import BackboneSpec, kernel
from sess_kernels.saliency import base_method
from sess_kernels.saliency.base import FeatureMethod

SPLIT_SHARE = 0.75  # of an image's cost: above it saliency deserves workers of its own
SPLIT_PRICE = 0.1  # of an image's cost: what its forwards over again may cost at most


@dataclass(frozen=True)
class Costs:
    """Seconds of one patch.

    Attributes:
        forward: To score it.
        saliency: To explain it in a process of its own, if it is kept.
        reuses: Whether one process for both saves the forward of the kept ones.
    """

    forward: float
    saliency: float
    reuses: bool


def choose(job: Job, places: int) -> tuple[str, float, str]:
    """The topology, the share of the workers that explain, and why.

    Args:
        job: The run.
        places: Backbone workers that the cluster has room for.
    """
    config = job.config
    kept = kept_share(config, _classes(config))
    if config.topology == "fused":
        return "fused", 1.0, "as configured"
    if config.topology == "auto":
        if isinstance(base_method(config.method, config.method_options), FeatureMethod):
            why = f"{config.method} reuses the activations of the forward that scores"
            return "fused", 1.0, why
        if places < 2:
            return "fused", 1.0, "there is room for one worker"
    return decide(measure(job.backbone, config), kept, config.topology == "split")


def decide(costs: Costs, kept: float, forced: bool = False) -> tuple[str, float, str]:
    """The topology for given costs, see ``choose``.

    Args:
        costs: Seconds of one patch.
        kept: Share of the patches that some class keeps.
        forced: Take ``split`` whatever it costs.

    Example:
        >>> topology, share, why = decide(Costs(0.01, 0.34, reuses=False), kept=0.5)
        >>> topology, round(share, 2), why
        ('split', 0.94, 'saliency is 94 % of an image, and two workers cost 0 % more than one')
        >>> decide(Costs(0.01, 0.011, reuses=True), kept=0.5)[0]
        'fused'
    """
    explain = kept * costs.saliency
    together = costs.forward + explain - (kept * costs.forward if costs.reuses else 0.0)
    apart = costs.forward + explain
    share, price = explain / apart, apart / together - 1
    figures = (
        f"saliency is {share:.0%} of an image, and two workers cost {price:.0%} more than one"
    ).replace("%", " %")
    if forced:
        return "split", share, "as configured"
    if share >= SPLIT_SHARE and price <= SPLIT_PRICE:
        return "split", share, figures
    return "fused", 1.0, figures


def kept_share(config: RunConfig, classes: int) -> float:
    """Share of the patches that at least one class keeps, if classes choose apart.

    Example:
        >>> kept_share(RunConfig(pre_filter_ratio=0.9), classes=2)
        0.19
    """
    return round(1 - config.pre_filter_ratio**classes if config.pre_filter_ratio else 1.0, 6)


def measure(spec: BackboneSpec, config: RunConfig) -> Costs:
    """The costs on this machine: one device batch scored, one patch of it explained."""
    device = "cuda" if torch.cuda.is_available() and config.device != "cpu" else "cpu"
    explain = kernel(spec.load(device), config)
    side = explain.backbone.input_size
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    images = [image] * explain.batch_size
    explain.score.floor(1)
    started = time.perf_counter()
    scores = explain.score_patches(images, [[0]] * len(images))
    scored = time.perf_counter()
    explain.explain_patches(images[:1], scores[:1])
    ended = time.perf_counter()
    patches = sum(one.scores.shape[1] for one in scores)
    kept = explain.config.kept(scores[0].scores.shape[1])
    reuses = not explain.method.needs_images
    return Costs((scored - started) / patches, (ended - scored) / kept, reuses)


def _classes(config: RunConfig) -> int:
    return config.top_k if config.labels == "predicted" else 1

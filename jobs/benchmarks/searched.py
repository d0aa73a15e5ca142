"""Which windows of an image a search asks for, and its rivals at equal cost, on stored answers.

All windows are scored once. Then the search and its rivals choose among them, each as many as the
search of the same image did.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobs.benchmarks.measure import Row
from sess_kernels import SESS, SESSConfig
from sess_kernels.evidence import evidence
from sess_kernels.images import to_tensor
from sess_kernels.packing import fixed_batches
from sess_kernels.precision import exact_fp32
from sess_kernels.prefilter import kept_of
from sess_kernels.results import PatchScores
from sess_kernels.search import Floats, Search
from sess_kernels.windows import Grid

Chosen = NDArray[np.bool_]
Classes = Sequence[int] | None

SEARCH, COARSE, RANDOM, FEWER = "search", "coarse scales first", "random", "fewer scales"
RECALLS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
_FEWER = 0.4  # of the scales, for the rival that leaves the finest out


@dataclass(frozen=True)
class Answers:
    """What a search could ask of one image.

    Attributes:
        grids: Its N windows.
        scores: Its C classes and their scores in each window.
        cams: (C, N, h, w) what each place of a window contributes, see ``evidence``.
    """

    grids: tuple[Grid, ...]
    scores: PatchScores
    cams: Floats


@exact_fp32()
@torch.no_grad()
def answers_of(
    explain: SESS, images: Sequence[NDArray[np.uint8]], classes: Sequence[Classes]
) -> Iterator[Answers]:
    """Scores and evidence of every window, from one forward each, with the bits a search sees."""
    tensors = [to_tensor(image) for image in images]
    done = 0
    for spans in explain.score.groups(tensors):
        group = slice(done, done + len(spans))
        done = group.stop
        scored = explain.score(tensors[group], spans, classes[group], top_k=1)
        for span, found in zip(spans, scored.by_image(spans), strict=True):
            features = scored.features[span.first : span.stop]
            cams = [_evidence(explain, features, index) for index in found.classes]
            yield Answers(span.grids, found, np.stack(cams))


def _evidence(explain: SESS, features: Tensor, class_index: int) -> Floats:
    found = []
    for rows in fixed_batches(len(features), explain.batch_size):
        index = torch.full((len(rows),), class_index, device=features.device)
        found.append(evidence(explain.backbone, features[rows.to(features.device)], index))
    cams: Floats = torch.cat(found)[: len(features)].double().cpu().numpy()
    return cams


def replay(answers: Answers, config: SESSConfig) -> Chosen:
    """The windows ``bool (N,)`` that the search of this image asks for."""
    scores = answers.scores.scores.double().numpy()
    one = Search(answers.grids, config, len(scores))
    while len(rows := one.ask()):
        one.tell(rows, np.take(scores, rows, axis=1), np.take(answers.cams, rows, axis=1))
    return one.asked


def known(answers: Answers, asked: Chosen) -> PatchScores:
    """The scores of the windows that were asked for, -1 in the others, as a search gives them."""
    every = answers.scores
    scores = every.scores.where(torch.from_numpy(asked), torch.tensor(-1.0))
    return PatchScores(every.classes, scores)


def rival(rule: str, grids: Sequence[Grid], n_windows: int, seed: int) -> Chosen:
    """The windows ``bool (N,)`` of a rule that looks at no score.

    Args:
        rule: ``COARSE`` or ``RANDOM``: the first of that order; ``FEWER``: the coarsest scales.
        grids: All windows.
        n_windows: How many to take; ``FEWER`` has a number of its own.
        seed: Of the random order.
    """
    total = sum(map(len, grids))
    order = np.arange(total)
    if rule == RANDOM:
        order = np.random.default_rng(seed).permutation(total)
    if rule == FEWER:
        n_windows = sum(map(len, grids[: fewer(len(grids))]))
    chosen = np.zeros(total, bool)
    chosen[order[:n_windows]] = True
    return chosen


def fewer(scales: int) -> int:
    """How many scales the rival ``FEWER`` has."""
    return max(1, int(scales * _FEWER))


class Curves:
    """What rules find of the patches that the exact pre-filter keeps, over what they cost.

    Args:
        config: The exact configuration, with the window size set.
    """

    def __init__(self, config: SESSConfig) -> None:
        self._config = config
        self._images = 0
        # by rule and aim: of each image the share of the windows, and what each class finds
        self._found: dict[tuple[str, float | None], list[tuple[float, list[float]]]]
        self._found = defaultdict(list)

    def add(self, answers: Answers) -> None:
        """Let every rule choose in one image."""
        kept = [rows.numpy() for rows in kept_of(answers.scores.scores, self._config)]
        chosen: dict[tuple[str, float | None], Chosen] = {}
        for aim in RECALLS:
            config = replace(self._config, search=True, search_recall=aim)
            asked = chosen[SEARCH, aim] = replay(answers, config)
            for rule in (COARSE, RANDOM):
                chosen[rule, aim] = rival(rule, answers.grids, int(asked.sum()), self._images)
        chosen[FEWER, None] = rival(FEWER, answers.grids, 0, 0)
        self._images += 1
        for key, windows in chosen.items():
            recalls = [float(windows[rows].mean()) for rows in kept]
            self._found[key].append((float(windows.mean()), recalls))

    def rows(self) -> Iterator[Row]:
        """The mean share of the windows and the mean recall of every rule."""
        for (rule, aim), found in self._found.items():
            what = f"{rule}, search_recall {aim:g}" if rule == SEARCH else rule
            if rule in (COARSE, RANDOM):
                what = f"{rule}, as many windows as search_recall {aim:g}"
            if rule == FEWER:
                what = f"{rule}, the first {fewer(self._config.scales)} of {self._config.scales}"
            yield {
                "what": f"{what}, r = {self._config.pre_filter_ratio:g}",
                "rule": rule,
                "search_recall": aim,
                "share_of_windows": float(np.mean([share for share, _ in found])),
                "recall": float(np.mean([np.mean(recalls) for _, recalls in found])),
                "recall_of_maps": float(np.mean(np.concatenate([one for _, one in found]))),
            }

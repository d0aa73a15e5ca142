r"""Search: which windows of an image to score, so that few forwards find most of the best ones.

At a high pre-filter ratio nearly every forward scores a patch that is then dropped. The search
scores the first scale, then again and again a few windows that look best, by what is known so far:

    guide(w) = max over scored patches p of  s_p^0.7 * (share of the positive CAM of p inside w)
    hint(w)  = mean over p, weighted by (share of w inside p)^2, of
               log s_p + mean over w of the CAM of p - mean over all of p

where s is the score and the CAM is that of the log-score, so that the hint is its first-order
estimate in w. A Gaussian process over the windows gives each the probability that its log-odds
exceed those of the K-th best so far, K the patches to keep. Its kernel is the intersection over
union, which is positive definite; its mean a constant and the hint, weights of both unknown. The
next windows are the best by the sum of their ranks in guide and probability. A class is done when
the windows that are expected to be missed, the sum of these probabilities, are few enough of K.

The rule is not of the paper. It needs scores and small CAMs alone. Its constants were chosen on
photographs with EfficientNet-Lite0 so that what it aims to find is about what it finds:
docs/search.md has the measured curve.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sess_kernels.config import SESSConfig
from sess_kernels.windows import Grid, windows_of

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_ASKED = 2  # windows at a time for each class: few, as each answer moves the next question
_POWER = 0.7  # of the score in the guide
_NOISE = 0.05  # variance of a log-odds, of the kernel's
_FLOOR = 3.0  # log-odds below the K-th best so far are alike: what lies there is dropped anyway
_SPREAD = 0.6  # of the process's standard deviation, which alone is too cautious
_LEAST = 1e-7  # probabilities are kept so far from 0 and 1


class Search:
    """The search in one image, for all of its classes together.

    Args:
        grids: Its windows.
        config: Gives the patches to keep, the recall, and the side of the windows (set).
        n_classes: Number of classes C.

    Attributes:
        asked: ``bool (N,)`` which windows were asked for.

    Example:
        >>> from sess_kernels.windows import grids
        >>> config = SESSConfig(scales=6, pre_filter_ratio=0.9, search=True).for_input(224)
        >>> search = Search(grids(224, 224, config), config, n_classes=1)
        >>> first = search.ask()
        >>> first.tolist(), len(search.asked)
        ([0], 31)
        >>> cam = np.zeros((1, 1, 7, 7))
        >>> cam[..., 0, 0] = 1  # all evidence in the top left corner
        >>> search.tell(first, np.array([[0.5]]), cam)
        >>> search.ask().tolist()
        [1, 5]
    """

    def __init__(self, grids: Sequence[Grid], config: SESSConfig, n_classes: int) -> None:
        assert config.window_size is not None
        self._boxes = _boxes(grids, config.window_size)
        n_windows = len(self._boxes)
        self._first = len(grids[0])
        self._kept, self._lost = config.kept(n_windows), 1 - config.search_recall
        self.asked = np.zeros(n_windows, bool)
        self._rows: Indices = np.zeros(0, np.int64)  # the windows that were scored, in order
        self._overlap = np.zeros((0, n_windows))
        self._log_odds = np.zeros((n_classes, 0))
        self._guide = np.zeros((n_classes, n_windows))
        self._hints = np.zeros((2, n_classes, n_windows))  # sum of weighted values, of weights

    def ask(self) -> Indices:
        """The windows to score next; none when enough of the best are found.

        Everything that was asked for must have been told.
        """
        if not self._log_odds.shape[1]:
            found = np.arange(self._first)
        else:
            left = np.flatnonzero(~self.asked)
            wanted = [self._best(one, left) for one in range(len(self._guide))] if len(left) else []
            found = np.unique(np.concatenate([left[:0], *wanted]))
        self.asked[found] = True
        return found

    def tell(self, rows: Indices, scores: Floats, cams: Floats) -> None:
        """What was found in windows.

        Args:
            rows: ``int64 (n,)`` the windows.
            scores: (C, n) score of each class.
            cams: (C, n, h, w) contribution of each place of the patch to the log-score of a class,
                see ``evidence``.
        """
        within, inside, overlap = _shares(self._boxes, rows, cams.shape[2:])
        positive = np.maximum(cams, 0)
        total = positive.sum((2, 3))[..., None]
        share = _sum_inside(positive, inside) / np.where(total > 0, total, 1)
        guide = scores[..., None] ** _POWER * share
        self._guide = np.maximum(self._guide, guide.max(1))
        area = inside[0].sum(-1) * inside[1].sum(-1)
        change = _sum_inside(cams, inside) / np.maximum(area, 1e-9) - cams.mean((2, 3))[..., None]
        bounded = scores.clip(_LEAST, 1 - _LEAST)
        hint = np.minimum(np.log(bounded)[..., None] + change, 0)
        self._hints += np.stack([(within**2 * hint).sum(1), (within**2 + 0 * hint).sum(1)])
        self._rows = np.concatenate([self._rows, rows])
        self._overlap = np.concatenate([self._overlap, overlap])
        log_odds = np.log(bounded) - np.log1p(-bounded)
        self._log_odds = np.concatenate([self._log_odds, log_odds], 1)

    def _best(self, class_: int, left: Indices) -> Indices:
        """The windows to ask for next, for one class, out of those that are left."""
        probability = self._probability(class_, left)
        enough = len(self._rows) >= self._kept
        if enough and probability.sum() < self._lost * self._kept:
            return left[:0]
        order = _ranks(self._guide[class_, left]) + _ranks(probability)
        return left[np.argsort(order, kind="stable")[:_ASKED]]

    def _probability(self, class_: int, left: Indices) -> Floats:
        """That a window (n,) is among the best: its Gaussian process, given what was scored."""
        rows, found = self._rows, self._log_odds[class_]
        kth = np.sort(found)[-min(self._kept, len(found))]
        values = np.maximum(found, kth - _FLOOR)
        weighted, weight = self._hints[:, class_]
        hint = np.where(weight > 0, weighted / np.maximum(weight, 1e-12), kth - _FLOOR)
        hint = hint.clip(kth - 1.5 * _FLOOR, kth + 2 * _FLOOR)
        hint = (hint - hint.mean()) / (hint.std() + 1e-6)
        known = self._overlap[:, rows] + 1 + np.outer(hint[rows], hint[rows])
        known.flat[:: len(rows) + 1] += _NOISE
        cross = self._overlap[:, left] + 1 + np.outer(hint[rows], hint[left])
        mean = values.mean()
        solved = np.linalg.solve(known, np.column_stack([cross, values - mean]))
        scale = max(float((values - mean) @ solved[:, -1]) / len(rows), 0.02)
        variance = 2 + hint[left] ** 2 - (cross * solved[:, :-1]).sum(0)
        deviation = _SPREAD * np.sqrt(scale * variance.clip(1e-6))
        above = (mean + cross.T @ solved[:, -1] - kth) / deviation
        probability: Floats = torch.special.ndtr(torch.from_numpy(above)).numpy()
        return probability


def _boxes(grids: Sequence[Grid], window: int) -> Floats:
    """Windows (N, 4) as x0, y0, x1, y1 in shares of the image's sides."""
    windows = windows_of(grids)
    corners = np.array([(one.left, one.top) for one in windows])
    sizes = np.array([(one.grid.width, one.grid.height) for one in windows])
    return np.concatenate([corners / sizes, (corners + window) / sizes], axis=1)


def _shares(
    boxes: Floats, rows: Indices, size: tuple[int, ...]
) -> tuple[Floats, tuple[Floats, Floats], Floats]:
    """How windows (N, 4) lie to some of them (n,).

    Returns:
        The share of each window that lies in each of these (n, N); the share of each row (n, N, h)
        and column (n, N, w) of their maps that lies in it; intersection over union (n, N).
    """
    inside, lengths = [], []
    for low, high, cells in ((1, 3, size[0]), (0, 2, size[1])):
        start = boxes[rows, low, None]
        side = boxes[rows, high, None] - start
        first = ((boxes[:, low] - start) / side).clip(0, 1)
        last = ((boxes[:, high] - start) / side).clip(0, 1)
        cell = np.arange(cells)
        until = np.minimum(last[..., None] * cells, cell + 1)
        inside.append((until - np.maximum(first[..., None] * cells, cell)).clip(0))
        lengths.append((last - first) * side)
    both = lengths[0] * lengths[1]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return both / areas, (inside[0], inside[1]), both / (areas[rows, None] + areas - both)


def _sum_inside(maps: Floats, inside: tuple[Floats, Floats]) -> Floats:
    """Sums (C, n, N) of maps (C, n, h, w) inside each of N windows."""
    rows, columns = inside
    found: Floats = ((rows @ maps) * columns).sum(-1)
    return found


def _ranks(values: Floats) -> Indices:
    """Rank of each value, the largest first; of equal ones the earlier."""
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(-values, kind="stable")] = np.arange(len(values))
    return ranks

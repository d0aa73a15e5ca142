"""Scores of the patches that searches ask for, those of many images in common device batches."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sess_kernels.asking import Asker, Request, requests_of
from sess_kernels.evidence import evidence
from sess_kernels.fetch import Fetched
from sess_kernels.packing import Span, fixed_batches
from sess_kernels.precision import hopeful
from sess_kernels.prefilter import top_classes
from sess_kernels.results import Scored
from sess_kernels.scorer import PatchScorer
from sess_kernels.search import Floats, Search

_FLYING = 2  # device batches under way on a GPU: one runs while answers are thought over


class _Flight(NamedTuple):
    """A device batch under way: what was asked, where its rows begin, what will come back."""

    requests: list[Request]
    first: int
    scores: Fetched
    evidence: list[Fetched]


@dataclass
class _Group:
    """What is known of the patches of a group.

    Attributes:
        images: Its images (3, H, W).
        spans: Their patches.
        scores: (P, classes); -1 in patches that were not scored.
        rows: ``int64 (P,)`` where their features and pixels lie; -1 likewise.
        n_rows: Rows taken.
    """

    images: Sequence[Tensor]
    spans: Sequence[Span]
    scores: Tensor
    rows: Tensor
    n_rows: int = 0

    @classmethod
    def of(cls, images: Sequence[Tensor], spans: Sequence[Span], n_classes: int) -> _Group:
        total = spans[-1].stop
        return cls(images, spans, torch.full((total, n_classes), -1.0), torch.full((total,), -1))

    def places(self, requests: Sequence[Request]) -> Tensor:
        """Where requested patches lie among those of the group."""
        return torch.tensor([self.spans[one.image].first + one.patch for one in requests])

    @property
    def first_scales(self) -> Tensor:
        """The patches of the first scale of every image."""
        rows = torch.arange(len(self.rows))
        return torch.cat([rows[span.first_scale] for span in self.spans])


class SearchScorer(PatchScorer):
    """Scores the first scale of each image, and then what its search asks for.

    What a search asks depends on the answers to the same image alone, and these not on the device
    batch they came with; so a map's bits do not depend on which images were searched together.
    Images are begun as long as questions do not fill a device batch.
    """

    def __call__(
        self,
        images: Sequence[Tensor],
        spans: Sequence[Span],
        given: Sequence[Sequence[int] | None],
        top_k: int,
        *,
        keep: bool = True,
    ) -> Scored:
        """Score patches of a group; arguments as those of ``PatchScorer``."""
        group = _Group.of(images, spans, self.backbone.n_classes)
        self._reserve(len(group.rows) + self.batch_size)
        if self._fast or (keep and self._images_needed):
            self._batches.reserve(len(group.rows) + self.batch_size)
        for flight in list(self._score_first_scales(group, keep)):  # all launched first
            self._take(group, flight)
        if self._fast:
            self._score_again(group.first_scales, group.scores, True, group.rows)
        classes = [
            chosen if chosen is not None else top_classes(group.scores[span.first_scale], top_k)
            for span, chosen in zip(spans, given, strict=True)
        ]
        self._search(group, classes, keep)
        if self._fast:
            again = hopeful(group.scores, spans, classes, self.config)
            again = again[group.rows[again] >= 0]
            rough, group.scores = group.scores, torch.full_like(group.scores, -1)
            group.scores[group.first_scales] = rough[group.first_scales]
            self._score_again(again, group.scores, keep, group.rows)
        kept = self._kept(group.n_rows if keep else 0)
        return Scored(*kept, group.scores, classes, None, group.rows)

    def buffer_rows(self, n_patches: int) -> tuple[int, int]:
        """Rows of the buffers, as those of ``PatchScorer``; the search needs the features."""
        rows = n_patches + self.batch_size
        keep_images = self._fast or self._images_needed
        return rows if keep_images else self.batch_size, self._batches.rows(rows)

    def _values(self, keep: bool) -> int:
        values = super()._values(keep)
        if not (keep and self._features_needed):  # the search needs them
            values += math.prod(self.backbone.feature_shape)
        return values

    def _score_first_scales(self, group: _Group, keep: bool) -> Iterator[_Flight]:
        waiting: list[tuple[Request, Tensor]] = []
        for number, (image, span) in enumerate(zip(group.images, group.spans, strict=True)):
            patches = self._batches.patches(image, span)
            for patch in range(len(span.grids[0])):
                waiting.append((Request(number, patch), patches[patch]))
                if len(waiting) == self.batch_size:
                    yield self._launch(group, waiting, keep)
                    waiting = []
        if waiting:
            yield self._launch(group, waiting, keep)

    def _launch(
        self,
        group: _Group,
        wanted: Sequence[tuple[Request, Tensor]],
        keep: bool,
        classes: Sequence[Sequence[int]] | None = None,
    ) -> _Flight:
        """Score patches, with the evidence for the classes of their images if they are known."""
        requests, first, size = [request for request, _ in wanted], group.n_rows, self.batch_size
        keep_images = self._fast or (keep and self._images_needed)
        batch = self._batches.batch([patch for _, patch in wanted], first, keep=keep_images)
        features, logits = self._forward(batch.to(self._dtype))
        self._features[first : first + size] = features
        group.rows[group.places(requests)] = torch.arange(first, first + len(requests))
        group.n_rows += len(requests)
        found = []
        if classes is not None:
            owners = [request.image for request in requests]
            found = self._evidence(self._features[first : first + size], owners, classes)
        return _Flight(requests, first, Fetched(self.backbone.scores(logits)), found)

    def _take(self, group: _Group, flight: _Flight) -> None:
        scores = flight.scores.get()[: len(flight.requests)]
        group.scores[group.places(flight.requests)] = scores

    def _evidence(
        self, features: Tensor, owners: Sequence[int], classes: Sequence[Sequence[int]]
    ) -> list[Fetched]:
        """Evidence (batch, h, w) for the first class of each patch's image, the second, and on."""
        padded = [*owners, *[owners[-1]] * (self.batch_size - len(owners))]
        wanted = [classes[owner] or (0,) for owner in padded]  # any, where an image has none
        found = []
        for turn in range(max(map(len, wanted))):
            chosen = [some[min(turn, len(some) - 1)] for some in wanted]
            index = torch.tensor(chosen).to(features.device, non_blocking=True)
            found.append(Fetched(evidence(self.backbone, features, index)))
        return found

    def _search(self, group: _Group, classes: Sequence[Sequence[int]], keep: bool) -> None:
        """Ask and answer until every search is content."""
        fresh = self._begin(group, classes)
        askers: dict[int, Asker] = {}
        queue: deque[Request] = deque()
        flying: deque[_Flight] = deque()
        most = _FLYING if self.backbone.device.type == "cuda" else 1
        while True:
            while len(queue) < self.batch_size and (begun := next(fresh, None)) is not None:
                number, askers[number] = begun
                queue += requests_of(number, askers[number].asked)
            full = len(queue) >= self.batch_size
            if queue and len(flying) < most and (full or not flying):
                some = [queue.popleft() for _ in range(min(len(queue), self.batch_size))]
                wanted = [(one, askers[one.image].patches[one.patch]) for one in some]
                flying.append(self._launch(group, wanted, keep, classes))
            elif flying:
                queue += self._land(group, flying.popleft(), classes, askers)
            else:
                return

    def _begin(
        self, group: _Group, classes: Sequence[Sequence[int]]
    ) -> Iterator[tuple[int, Asker]]:
        """The search of each image that asks beyond the first scale."""
        owners = [i for i, span in enumerate(group.spans) for _ in range(len(span.grids[0]))]
        cams: list[Floats] = []  # of each patch of the first scales: (classes of its image, h, w)
        for rows in fixed_batches(len(owners), self.batch_size):
            of_rows = [owners[int(row)] for row in rows]
            some = self._evidence(self._features[rows.to(self._features.device)], of_rows, classes)
            cams.extend(_stacked(some))
        done = 0
        for number, (span, chosen) in enumerate(zip(group.spans, classes, strict=True)):
            search = Search(span.grids, self.config, len(chosen))
            asked = search.ask()
            scores = group.scores[span.first_scale, list(chosen)].T.double().numpy()
            of_image = [cam[: len(chosen)] for cam in cams[done : done + len(asked)]]
            done += len(asked)
            search.tell(asked, scores, np.stack(of_image, axis=1))
            if len(asked := search.ask()):
                patches = self._batches.patches(group.images[number], span, keep=True)
                yield number, Asker(search, patches, asked)

    def _land(
        self,
        group: _Group,
        flight: _Flight,
        classes: Sequence[Sequence[int]],
        askers: dict[int, Asker],
    ) -> Iterator[Request]:
        """Take the answers of a device batch; the questions that follow from them."""
        self._take(group, flight)
        cams = _stacked(flight.evidence)
        places = group.places(flight.requests)
        for (number, patch), place, cam in zip(flight.requests, places, cams, strict=False):
            chosen, asker = list(classes[number]), askers[number]
            scores = group.scores[place, chosen].double().numpy()
            asked = asker.told(patch, scores, cam[: len(chosen)])
            if not len(asker.asked):
                del askers[number]  # and with it the scaled images
            yield from requests_of(number, asked)


def _stacked(of_turns: Sequence[Fetched]) -> Floats:
    """Evidence of all turns (n, turns, h, w)."""
    return np.stack([one.get().double().numpy() for one in of_turns], axis=1)

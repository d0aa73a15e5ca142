"""Questions of searches: the patches that each image asks for next, and its answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sess_kernels.patches import Patches
from sess_kernels.search import Floats, Indices, Search


class Request(NamedTuple):
    """A patch to score: number of the image in its group, number of the patch in the image."""

    image: int
    patch: int


@dataclass
class Asker:
    """The search of one image, between its questions.

    Attributes:
        search: The search.
        patches: What it can ask for.
        asked: The patches of the last question.
        answers: Scores (C,) and evidence (C, h, w) of those that are back, by patch.
    """

    search: Search
    patches: Patches
    asked: Indices
    answers: dict[int, tuple[Floats, Floats]] = field(default_factory=dict)

    def told(self, patch: int, scores: Floats, cams: Floats) -> Indices:
        """Take an answer; the next question once the last one is answered, else nothing."""
        self.answers[patch] = scores, cams
        if len(self.answers) < len(self.asked):
            return self.asked[:0]
        found = [self.answers[int(one)] for one in self.asked]
        stacked = (np.stack(part, axis=1) for part in zip(*found, strict=True))
        self.search.tell(self.asked, *stacked)
        self.asked, self.answers = self.search.ask(), {}
        return self.asked


def requests_of(image: int, patches: Iterable[int]) -> Iterator[Request]:
    """One request for each patch.

    Example:
        >>> list(requests_of(3, [7]))
        [Request(image=3, patch=7)]
    """
    return (Request(image, int(patch)) for patch in patches)

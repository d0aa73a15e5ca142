"""Calibration along one axis: from the map of a patch onto the source image, paper section 3.

A map is enlarged to its window, the window laid on a zero canvas of the scaled image and that
resized to the source image. All of it is separable and linear, and both interpolations take two
samples: a pixel of the source image is made of at most four samples of the map along each axis.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sess_kernels.interpolation import taps

_taps = lru_cache(maxsize=64)(taps)  # the windows of a scale share them


class Samples(NamedTuple):
    """Where a window touches one axis of the source image, and what each pixel there is made of.

    Attributes:
        start: First pixel of the source image that the window touches.
        stop: Pixel behind the last one.
        indices: ``int32 (4, stop - start)`` samples of the map that a pixel is interpolated from.
        weights: ``float32 (4, stop - start)`` their weights; of equal samples one has them all.
    """

    start: int
    stop: int
    indices: NDArray[np.int32]
    weights: NDArray[np.float32]


def samples(source: int, scaled: int, first: int, window: int, map_size: int) -> Samples:
    """The product of both interpolations along one axis: from map to window, onto the source.

    Args:
        source: Side of the source image in pixels.
        scaled: Side of the scaled image.
        first: First pixel of the window there.
        window: Side of the window.
        map_size: Samples of the map.

    Example:
        >>> found = samples(source=6, scaled=6, first=0, window=4, map_size=2)
        >>> found.start, found.stop
        (0, 4)
        >>> found.indices[:2, 1].tolist(), found.weights[:2, 1].tolist()
        ([0, 1], [0.75, 0.25])
    """
    below, above, share = _taps(scaled, source)
    low, high, part = _taps(map_size, window)
    touched = ((above >= first) & (below < first + window)).nonzero()[0]
    # a source of a few pixels samples so sparsely that it misses the window
    start, stop = (int(touched[0]), int(touched[-1]) + 1) if len(touched) else (0, 0)
    indices = np.empty((4, stop - start), np.int32)
    weights = np.empty((4, stop - start))
    share = share[start:stop]
    for row, (pixel, by) in enumerate(((below, 1 - share), (above, share))):
        place = pixel[start:stop] - first
        at = place.clip(0, window - 1)
        by = by * (place == at)  # outside of the window the canvas is zero
        indices[2 * row], indices[2 * row + 1] = low[at], high[at]
        weights[2 * row], weights[2 * row + 1] = by * (1 - part[at]), by * part[at]
    same, next_ = indices[2] == indices[0], indices[2] == indices[1]
    weights[:2] += weights[2:] * same
    weights[2:] *= ~same
    weights[1] += weights[2] * next_
    weights[2] *= ~next_
    return Samples(start, stop, indices, weights.astype(np.float32))

r"""XRAI (Kapishnikov et al., ICCV 2019).

The image is over-segmented at several granularities, and regions are taken one by one, the next one
always that of the highest gain: with the integrated gradients A, averaged over a black and a white
baseline, their maximum over the channels a, and what has been taken M,

    gain(s) = mean of a over the positions of  s \ M
    L_c     = gain of the region that a position was taken with

The network runs here, batched over all pairs; the ranking is that of PAIR's ``saliency`` package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.errors import SessError
from sess_kernels.saliency.base import BaseMethod, Query
from sess_kernels.saliency.integrated_gradients import Quadrature, attributions, baseline_image

_SIDE = 224  # the granularities below are meant for images of this size, with values -1 to 1
_SCALES = (50, 100, 150, 250, 500, 1200)
_SIGMA, _MIN_SIZE = 0.8, 150
_MARGIN = 5  # pixels that a segment reaches over its border, so that it has its edges too


def segments(image: NDArray[np.float32]) -> list[NDArray[np.bool_]]:
    """Over-segmentation of an image by Felzenszwalb's algorithm, at several granularities.

    Args:
        image: (H, W, 3) of any range, not constant.

    Returns:
        Masks (H, W) of the segments, all granularities in one list.
    """
    from skimage.segmentation import felzenszwalb
    from skimage.transform import resize

    low, high = image.min(), image.max()
    scaled = resize(
        (image - low) / (high - low) * 2 - 1,
        (_SIDE, _SIDE),
        order=3,
        mode="constant",
        preserve_range=True,
        anti_aliasing=True,
    )
    masks: list[NDArray[np.bool_]] = []
    for scale in _SCALES:
        labels = felzenszwalb(scaled, scale=scale, sigma=_SIGMA, min_size=_MIN_SIZE)
        size: dict[str, Any] = {"preserve_range": True, "anti_aliasing": False, "mode": "constant"}
        masks += _dilated(resize(labels, image.shape[:2], order=0, **size).astype(int))
    return masks


def _dilated(labels: NDArray[np.int_]) -> Iterator[NDArray[np.bool_]]:
    """The mask of every label and of what is at most ``_MARGIN`` pixels away."""
    from scipy.ndimage import distance_transform_edt, find_objects

    for label, box in enumerate(find_objects(labels + 1)):
        mask = np.zeros(labels.shape, dtype=bool)
        if box is not None:
            near = tuple(slice(max(0, s.start - _MARGIN), s.stop + _MARGIN) for s in box)
            mask[near] = distance_transform_edt(labels[near] != label) <= _MARGIN
        yield mask


def pair_quadrature(steps: int) -> Quadrature:
    """The mean over equidistant points of the path with both its ends, as PAIR's package has it.

    Example:
        >>> pair_quadrature(3).points
        [0.0, 0.5, 1.0]
    """
    return Quadrature(np.linspace(0, 1, steps).tolist(), [1 / steps] * steps)


@dataclass(frozen=True)
class XRAI(BaseMethod):
    """XRAI; needs ``pip install "sess-pipeline[xrai]"``.

    It takes twice ``steps`` forwards and backwards for each pair, and about half a second on the
    CPU for the segments of each patch.

    Attributes:
        steps: Points of the path from each of the two baselines.
        algorithm: ``"full"``, or ``"fast"``, which ranks the regions once, overlaps disregarded:
            hundredths of a second for each pair and not seconds.
        area_threshold: Share of the patch to rank; the rest gets one value. Lower is faster.
            ``"fast"`` always ranks everything.

    Example:
        >>> from sess_kernels import load_backbone
        >>> images, pairs = torch.rand(1, 3, 224, 224), torch.tensor([0])
        >>> query = Query(images, torch.zeros(1, 0), pairs, torch.tensor([285]), batch_size=2)
        >>> XRAI(steps=2, algorithm="fast")(load_backbone("lite0"), query).shape
        torch.Size([1, 224, 224])
    """

    title = "XRAI"
    needs_features = False

    steps: int = 25
    algorithm: str = "full"
    area_threshold: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise ValueError(f"steps must be at least 2 but got {self.steps}")
        if self.algorithm not in ("full", "fast"):
            raise ValueError(f"algorithm must be full or fast but got {self.algorithm!r}")
        if not 0 < self.area_threshold <= 1:
            raise ValueError(
                f"area_threshold must be above 0 and at most 1 but got {self.area_threshold}"
            )

    def check(self, backbone: Backbone) -> None:
        """Raise ``SessError`` if the package is missing."""
        try:
            import saliency.core.xrai  # noqa: F401
            import skimage.segmentation  # noqa: F401
        except ImportError as error:
            raise SessError('xrai needs packages: pip install "sess-pipeline[xrai]"') from error

    def __call__(self, backbone: Backbone, query: Query) -> Tensor:
        """Maps (M, S, S) of the M pairs of the query, not normalised."""
        self.check(backbone)
        order = torch.cat([pairs for _, pairs in query.by_patch()])  # a patch is segmented once
        grouped = Query(
            query.images,
            query.features,
            query.patch[order],
            query.class_index[order],
            query.batch_size,
        )
        ends = [baseline_image(backbone, name) for name in ("black", "white")]
        paths = [attributions(backbone, grouped, end, pair_quadrature(self.steps)) for end in ends]
        maps: list[Tensor] = []
        last = -1
        for patch, black, white in zip(grouped.patch.tolist(), *paths, strict=True):
            if patch != last:
                pixels, last = _pixels(backbone, query.images[patch]), patch
                regions = segments(pixels) if pixels.max() > pixels.min() else []
            maps.append(self._ranked(pixels, (black + white) / 2, regions))
        return torch.stack(maps)[order.argsort()].to(query.images)

    def _ranked(
        self, pixels: NDArray[np.float32], attribution: Tensor, regions: list[NDArray[np.bool_]]
    ) -> Tensor:
        """Map (S, S) of one pair; zeros if the patch has no regions."""
        if not regions:
            return torch.zeros(pixels.shape[:2])
        from saliency.core.xrai import XRAI as Ranking
        from saliency.core.xrai import XRAIParameters

        base = attribution.permute(1, 2, 0).cpu().numpy()
        how = XRAIParameters(algorithm=self.algorithm, area_threshold=self.area_threshold)
        found = Ranking().GetMask(
            pixels, None, segments=regions, base_attribution=base, extra_parameters=how
        )
        return torch.from_numpy(found)


def _pixels(backbone: Backbone, image: Tensor) -> NDArray[np.float32]:
    """A normalised patch (3, S, S) as an image (S, S, 3) of the range 0 to 1."""
    how = backbone.preprocessing
    mean, std = image.new_tensor(how.mean), image.new_tensor(how.std)
    pixels = image.permute(1, 2, 0) * std + mean
    return np.asarray(pixels.clamp(0, 1).cpu().numpy(), dtype=np.float32)

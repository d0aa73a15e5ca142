"""Device memory that SESS takes, known before it runs."""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sess_kernels.evidence import evidence
from sess_kernels.packing import Span
from sess_kernels.precision import exact_fp32
from sess_kernels.saliency import FeatureMethod, GradientMethod, Query
from sess_kernels.saliency.base import image_gradient
from sess_kernels.sess import SESS

_FLOAT = 4  # bytes of a float32
_MEASURED = 2  # patches of the largest batch that is run; what more take follows from one and two


@dataclass(frozen=True)
class Footprint:
    """Bytes on the device of one ``SESS``.

    Attributes:
        weights: Parameters and buffers of the backbone, and of its copy in another precision.
        forward: Live at most while a device batch is scored or explained.
        kept: Patches and features that stay for a group of images.
        images: An image at its scales, maps of patches, maps of all images of a call.
    """

    weights: int
    forward: int
    kept: int
    images: int

    @property
    def total(self) -> int:
        """The sum of all."""
        return self.weights + self.forward + self.kept + self.images


def footprint(explain: SESS, sizes: Sequence[tuple[int, int]], n_classes: int = 1) -> Footprint:
    """Bytes on the device that a call takes at least.

    What a forward takes is measured: batches of one and two patches are run, and the line through
    both gives that of the device batch. Not in it is what torch does not hold as a tensor: the
    workspaces of cuDNN and cuBLAS, gaps in the allocator's blocks, CUDA itself, the temporaries of
    an image while it is resized, and what another runtime than eager torch takes for itself.
    Methods that mask or vary patches are taken for one pass of the network each.

    Args:
        explain: The kernel, on the device in question.
        sizes: Height and width in pixels of each image of the call.
        n_classes: Classes of an image.

    Example:
        >>> from sess_kernels import SESSConfig
        >>> explain = SESS("lite0", config=SESSConfig(scales=2), batch_size=4)
        >>> found = footprint(explain, [(300, 451)])
        >>> found.kept == 4 * (4 * 3 * 224**2 + 8 * 1280 * 7**2)  # a batch, features of 6 patches
        True
    """
    images = [torch.empty(3, *size, device="meta") for size in sizes]
    groups = list(explain.score.groups(images))
    return Footprint(
        weights=_weights(explain),
        forward=_forward(explain),
        kept=max((_kept(explain, group[-1].stop) for group in groups), default=0),
        images=_images(explain, groups, n_classes) if groups else 0,
    )


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors on a device that are made within it, while they live.

    Tensors that share memory count once. What operations take and free inside themselves is not
    seen, nor are tensors made of Python numbers.

    Args:
        device: The device.

    Attributes:
        now: Bytes that live.
        peak: The most that lived at a time.

    Example:
        >>> with LiveBytes(torch.device("cpu")) as live:
        ...     total = torch.zeros(100).add(1).view(10, 10).sum()
        >>> live.now, live.peak
        (4, 800)
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._kind = device.type

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and count what it gives, unless that shares memory with what it got."""
        kwargs = kwargs or {}
        known = {one.untyped_storage()._cdata for one in _strided((args, kwargs))}
        found = func(*args, **kwargs)
        for one in _strided(found):
            storage = one.untyped_storage()
            if one.device.type == self._kind and storage._cdata not in known:
                known.add(storage._cdata)
                self._add(storage.nbytes())
                weakref.finalize(storage, self._add, -storage.nbytes()).atexit = False
        return found

    def _add(self, n_bytes: int) -> None:
        self.now += n_bytes
        self.peak = max(self.peak, self.now)


def _strided(tree: Any) -> Iterable[Tensor]:
    leaves = tree_leaves(tree)
    return (x for x in leaves if isinstance(x, Tensor) and x.layout == torch.strided)


@exact_fp32()
@torch.no_grad()
def peak_of_batch(explain: SESS, size: int) -> int:
    """Bytes live at most while a batch of so many patches is scored or explained, in eager torch.

    The patches themselves are not counted, nor the features of those that are explained.

    Example:
        >>> explain = SESS("lite0")
        >>> peak_of_batch(explain, 1) < peak_of_batch(explain, 2)
        True
    """
    backbone, side = explain.backbone, explain.backbone.input_size
    patches = torch.zeros(size, 3, side, side, device=backbone.device)
    patches = patches.contiguous(memory_format=torch.channels_last)
    peaks: list[int] = []
    for shared, dtype in explain.score.networks:
        network = copy.copy(shared)
        network.fixed_forward = None
        with LiveBytes(backbone.device) as live:
            for _ in range(2):  # each batch finds the features of the one before it still there
                features, logits = network(patches.to(dtype))
                backbone.scores(logits)
        peaks.append(live.peak)
    features = features.float()
    with LiveBytes(backbone.device) as live:
        _explain(explain, patches, features)
    peaks.append(live.peak)
    return max(peaks)


def _explain(explain: SESS, patches: Tensor, features: Tensor) -> None:
    """One pass of the base method, and of the search if there is one."""
    backbone, method, size = explain.backbone, explain.method, len(patches)
    classes = torch.zeros(size, dtype=torch.long, device=backbone.device)
    if explain.config.search:
        evidence(backbone, features, classes)
    if isinstance(method, GradientMethod):
        method.differentiate(backbone, patches, classes)
    elif isinstance(method, FeatureMethod):
        method(backbone, Query(patches, features, torch.arange(size), classes.cpu(), size))
    elif method.needs_network and not method.needs_features:  # gradients of varied patches
        image_gradient(backbone, patches, classes)


def _forward(explain: SESS) -> int:
    size = explain.batch_size
    if size <= _MEASURED or explain.backbone.batch_size:  # the classifier takes no other number
        return peak_of_batch(explain, size)
    one, two = peak_of_batch(explain, 1), peak_of_batch(explain, 2)
    return one + (size - 1) * (two - one)


def _weights(explain: SESS) -> int:
    found = {}
    for network in (explain.backbone, *(one for one, _ in explain.score.networks)):
        for tensor in (*network.parameters(), *network.buffers()):
            storage = tensor.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


def _kept(explain: SESS, n_patches: int) -> int:
    patches, features = explain.score.buffer_rows(n_patches)
    side, of_features = explain.backbone.input_size, math.prod(explain.backbone.feature_shape)
    n_bytes: int = _FLOAT * (patches * 3 * side**2 + features * of_features)
    return n_bytes


def _images(explain: SESS, groups: Sequence[Sequence[Span]], n_classes: int) -> int:
    pixels = sum(math.prod(span.size) for group in groups for span in group)
    found: int = _FLOAT * n_classes * pixels  # their maps
    if explain.backbone.device.type == "cpu":
        found += 3 * pixels
    found += max(_scaled(explain, group, n_classes) for group in groups)
    if not explain.method.needs_features:  # maps of patches are as large as these
        kept = (sum(explain.config.kept(span.stop - span.first) for span in g) for g in groups)
        found += _FLOAT * explain.backbone.input_size**2 * max(kept)
    return found


def _scaled(explain: SESS, group: Sequence[Span], n_classes: int) -> int:
    """Images at the same time, normalised: one at one scale; searches at all scales they asked."""
    searched = explain.config.search
    found = []
    for span in group:
        scales = [grid.height * grid.width for grid in span.grids]
        pixels = math.prod(span.size) + (sum(scales) if searched else max(scales))
        found.append(3 * _FLOAT * pixels)
    together = max(explain.batch_size // n_classes, 1) if searched else 1
    return sum(sorted(found)[-together:])

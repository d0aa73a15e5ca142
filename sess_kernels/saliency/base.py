"""What SESS asks of a base saliency method, and the two simple kinds of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from sess_kernels.backbones.base import Backbone
from sess_kernels.packing import fixed_batches


@dataclass(frozen=True)
class Query:
    """Pairs of a patch and a class to explain; several pairs may share a patch.

    Attributes:
        images: (P, 3, S, S) normalised patches; without entries if the method does not need them.
        features: (P, ...) output of the target layer; without entries if the method does not need
            them.
        patch: ``int64 (M,)`` the patch of each pair, ascending within a class of an image.
        class_index: ``int64 (M,)`` the class of each pair.
        batch_size: Patches of a device batch; every pass through the network is of this size.
    """

    images: Tensor
    features: Tensor
    patch: Tensor
    class_index: Tensor
    batch_size: int

    def __len__(self) -> int:
        return len(self.patch)

    def batches(self) -> Iterator[tuple[Tensor | slice, Tensor]]:
        """Patches and classes of ``batch_size`` pairs each; the last pair fills the last batch up.

        Patches that follow each other come as a slice, which copies nothing where it indexes.

        Example:
            >>> none = torch.zeros(3, 0)
            >>> query = Query(none, none, torch.tensor([0, 1, 2]), torch.tensor([7, 7, 7]), 2)
            >>> [(patches, classes.tolist()) for patches, classes in query.batches()]
            [(slice(0, 2, None), [7, 7]), (tensor([2, 2]), [7, 7])]
        """
        size = self.batch_size
        device = self.features.device
        for batch in fixed_batches(len(self), size):
            patches = self.patch[batch]
            first = int(patches[0])
            follow = torch.equal(patches, torch.arange(first, first + size))
            where = slice(first, first + size) if follow else patches.to(device)
            yield where, self.class_index[batch].to(device)

    def by_patch(self) -> Iterator[tuple[int, Tensor]]:
        """Each patch with the positions of its pairs, for work that its classes can share.

        Example:
            >>> none = torch.zeros(3, 0)
            >>> query = Query(none, none, torch.tensor([2, 0, 2]), torch.tensor([7, 7, 8]), 2)
            >>> [(patch, pairs.tolist()) for patch, pairs in query.by_patch()]
            [(0, [1]), (2, [0, 2])]
        """
        for patch in torch.unique(self.patch):
            yield int(patch), (self.patch == patch).nonzero().flatten()


class BaseMethod(ABC):
    """A base saliency method: maps of patches, one for each pair of a patch and a class.

    A method is a frozen dataclass; its fields are the options that a user may set.
    """

    title: str
    """What to call the method where people read."""
    needs_images: ClassVar[bool] = True
    """Whether it asks for ``Query.images``."""
    needs_features: ClassVar[bool] = True
    """Whether it asks for ``Query.features``."""
    needs_network: ClassVar[bool] = True
    """Whether it looks into the network; else any classifier will do."""

    @abstractmethod
    def __call__(self, backbone: Backbone, query: Query) -> Tensor:
        """Maps (M, h, w) of the M pairs of the query, of any one size, not normalised.

        A constant map says that there is no evidence. Runs without autograd unless it asks for it.
        """

    def check(self, backbone: Backbone) -> None:  # noqa: B027  (most methods fit every backbone)
        """Raise ``SessError`` if the method cannot explain this backbone."""


def _batch_by_batch(
    maps: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, query: Query
) -> Tensor:
    found = [maps(_rows(inputs, patches), classes) for patches, classes in query.batches()]
    return torch.cat(found)[: len(query)]


def _rows(inputs: Tensor, patches: Tensor | slice) -> Tensor:
    if isinstance(patches, slice):
        return inputs[patches]
    if inputs.dim() == 4 and inputs.is_contiguous(memory_format=torch.channels_last):
        # whole rows are copied in one piece; indexing goes value by value
        return inputs.permute(0, 2, 3, 1).index_select(0, patches).permute(0, 3, 1, 2)
    return inputs.index_select(0, patches)


class FeatureMethod(BaseMethod):
    """A method that needs the features of the target layer alone: no second forward."""

    needs_images = False

    def __call__(self, backbone: Backbone, query: Query) -> Tensor:
        """Maps of the pairs, batch by batch."""
        return _batch_by_batch(partial(self.maps, backbone), query.features, query)

    @abstractmethod
    def maps(self, backbone: Backbone, features: Tensor, class_index: Tensor) -> Tensor:
        """Maps (N, h, w) of features (N, ...) of the target layer and classes ``int64 (N,)``."""


class ImageMethod(BaseMethod):
    """A method that runs the patches through the network again."""

    needs_features = False

    def __call__(self, backbone: Backbone, query: Query) -> Tensor:
        """Maps of the pairs, batch by batch."""
        return _batch_by_batch(partial(self.maps, backbone), query.images, query)

    @abstractmethod
    def maps(self, backbone: Backbone, images: Tensor, class_index: Tensor) -> Tensor:
        """Maps (N, h, w) of normalised images (N, 3, S, S) and classes ``int64 (N,)``."""


class GradientMethod(ImageMethod):
    """A method of one forward and one backward, whose forward gives the scores too.

    Where every patch is kept that forward is the only one: SESS scores patches with it.
    """

    def maps(self, backbone: Backbone, images: Tensor, class_index: Tensor) -> Tensor:
        """Maps (N, S, S), at least zero, not normalised."""
        return self.differentiate(backbone, images, class_index)[0]

    @abstractmethod
    def differentiate(
        self, backbone: Backbone, images: Tensor, class_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Maps (N, S, S) and logits (N, outputs) of images (N, 3, S, S), classes ``int64 (N,)``."""


def feature_gradient(backbone: Backbone, features: Tensor, class_index: Tensor) -> Tensor:
    """Gradient of the target with respect to the features, through the head alone.

    Where the head is average pooling and one linear layer the gradient is the same at every
    position and known without a backward pass.

    Args:
        backbone: The classifier that gave the features.
        features: (N, ...) output of its target layer.
        class_index: ``int64 (N,)``.

    Returns:
        (N, C, h, w), or (N, C, 1, 1) where it is the same at every position.

    Example:
        >>> from sess_kernels import load_backbone
        >>> backbone = load_backbone("lite0")
        >>> features, logits = backbone(torch.rand(1, 3, 224, 224))
        >>> feature_gradient(backbone, features, logits.argmax(1)).shape
        torch.Size([1, 1280, 1, 1])
    """
    if backbone.pooled_weight is not None:
        positions = backbone.spatial(features)[0, 0].numel()
        return backbone.pooled_gradient(features, class_index)[:, :, None, None] / positions
    with torch.enable_grad():
        leaf = features.detach().requires_grad_()
        target = backbone.target(backbone.head(leaf), class_index).sum()
        [gradient] = torch.autograd.grad(target, leaf)
    return backbone.spatial(gradient)


def image_gradient(
    backbone: Backbone,
    images: Tensor,
    class_index: Tensor,
    prepare: Callable[[Tensor], object] | None = None,
) -> tuple[Tensor, Tensor]:
    """Gradient of the target with respect to the images, and the logits, of one forward.

    Args:
        backbone: The classifier.
        images: Normalised images (N, 3, S, S).
        class_index: ``int64 (N,)``.
        prepare: Called with the sum of the targets before the backward pass.

    Returns:
        Gradient (N, 3, S, S) and logits (N, outputs).

    Example:
        >>> from sess_kernels import load_backbone
        >>> images = torch.rand(1, 3, 224, 224)
        >>> gradient, logits = image_gradient(load_backbone("lite0"), images, torch.tensor([7]))
        >>> tuple(gradient.shape), tuple(logits.shape)
        ((1, 3, 224, 224), (1, 1000))
    """
    with torch.enable_grad():
        leaf = images.detach().requires_grad_()
        _, logits = backbone(leaf)
        target = backbone.target(logits, class_index).sum()
        if prepare:
            prepare(target)
        [gradient] = torch.autograd.grad(target, leaf)
    return gradient, logits.detach()

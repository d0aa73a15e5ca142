"""What is true of an image, and of whatever says so."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from pipeline.sources.listed import Listed

Size = tuple[int, int]
"""Height and width in pixels."""
Reader = Callable[[], Tensor | None]
"""Reads pixels when they are asked for."""

UNKNOWN = 255
"""Value of the pixels of a mask that nobody knows."""
MOST_CLASSES = UNKNOWN - 1
"""Classes that a mask of 8 bits can tell apart, beside background and what nobody knows."""


def nothing() -> Tensor | None:
    """Reads nothing."""
    return None


@dataclass(frozen=True, eq=False)
class ClassTruth:
    """Where a class is in an image.

    Attributes:
        boxes: float32 (M, 4), ``xyxy`` in pixels of the image, half-open; none where annotations
            only say that the class is there, or where.
        difficult: bool (M,), boxes that need not be found: PASCAL's ``difficult``, COCO's crowds.

    Example:
        >>> import torch
        >>> ClassTruth(torch.zeros(0, 4), torch.zeros(0).bool()).region is None
        True
    """

    boxes: Tensor
    difficult: Tensor
    read_region: Reader = field(default=nothing, repr=False)
    read_unknown: Reader = field(default=nothing, repr=False)

    @cached_property
    def region(self) -> Tensor | None:
        """Pixels of the class, bool (H, W); None where annotations have boxes alone.

        Raises:
            SessError: If it takes a package that is not installed.
        """
        return self.read_region()

    @cached_property
    def unknown(self) -> Tensor | None:
        """Pixels that nobody judges, bool (H, W), if ``region`` has such."""
        return self.read_unknown()


@dataclass(eq=False)
class ImageTruth:
    """What is true of an image.

    Attributes:
        classes: Where each class is, by the class index of the run.
        size: Height and width, as far as known.
        faults: What makes no sense in its annotation, each with its place. A mask is read when it
            is asked for: what is wrong with it stands here afterwards.
        others: Objects of classes that the run does not have, by their names.
        labelled: Whether annotations say which classes are there; else ``classes`` has the same
            for whatever class is asked for.

    Example:
        >>> ImageTruth({}, size=(20, 30)).mask is None
        True
    """

    classes: Mapping[int, ClassTruth]
    size: Size | None = None
    faults: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    labelled: bool = True
    read_mask: Reader = field(default=nothing, repr=False)

    @cached_property
    def mask(self) -> Tensor | None:
        """uint8 (H, W): 0 background, class index + 1, 255 nobody knows; None if there is none.

        Objects of classes that the run does not have are background.

        Raises:
            SessError: If it takes a package that is not installed.
        """
        return self.read_mask()


class AnyClass(Mapping[int, ClassTruth]):
    """One truth for whatever class is asked for, as annotations do not say which it is of.

    Args:
        truth: The truth.
        n_classes: Classes of the run.

    Example:
        >>> import torch
        >>> cat = ClassTruth(torch.zeros(0, 4), torch.zeros(0).bool())
        >>> found = AnyClass(cat, 1000)
        >>> found[285] is cat, found.get(1000)
        (True, None)
    """

    def __init__(self, truth: ClassTruth, n_classes: int) -> None:
        self._truth, self._n_classes = truth, n_classes

    def __getitem__(self, index: int) -> ClassTruth:
        if not 0 <= index < self._n_classes:
            raise KeyError(index)
        return self._truth

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._n_classes))

    def __len__(self) -> int:
        return self._n_classes


class Truth(ABC):
    """Says what is true of images, by their ids; can be pickled, and is safe among threads.

    Args:
        name: ``KIND:PATH`` as the user said it.

    Attributes:
        has_boxes: Whether classes have boxes.
        has_masks: Whether images have masks.
        has_regions: Whether classes have regions.
        listed: Faults that opening tells, with their places: entries that were left out.
    """

    has_boxes = False
    has_masks = False
    has_regions = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.listed = Listed()

    @property
    def faults(self) -> list[str]:
        """The first faults that opening tells; those of an image are with its ``ImageTruth``."""
        return self.listed.faults

    @abstractmethod
    def of(self, image_id: str, size: Size | None = None) -> ImageTruth | None:
        """What is true of an image; None if nothing is said of it.

        Args:
            image_id: Id of the image in the run.
            size: Height and width of the image after EXIF rotation. What is for another size is
                told and left out.
        """

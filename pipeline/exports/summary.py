"""What an export has written."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.exports.labelled import LabelledImage

_SHOWN = 20


@dataclass
class ExportSummary:
    """Counts of an export.

    Attributes:
        to: Name of the format.
        dest: Where it is.
        read: A line that reads it.
        classes: Classes of the dataset.
        images: Images that were written.
        boxes: Their boxes.
        masks: Their masks.
        empty: Images of them without a box, where there are boxes.
        skipped: Images that were left out: they failed in the run, or could not be read.
        reasons: The first of them, as ``image id: reason``.
        notes: What else is worth knowing.
        seconds: How long it took.

    Example:
        >>> summary = ExportSummary("coco", "labels", "", 20)
        >>> summary.skip("cut.jpg", "image file is truncated")
        >>> summary.skipped, summary.reasons
        (1, ['cut.jpg: image file is truncated'])
    """

    to: str
    dest: str
    read: str
    classes: int
    images: int = 0
    boxes: int = 0
    masks: int = 0
    empty: int = 0
    skipped: int = 0
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def skip(self, image_id: str, reason: str) -> None:
        """Count an image that is left out."""
        self.skipped += 1
        if len(self.reasons) < _SHOWN:
            self.reasons.append(f"{image_id}: {reason}")

    def add(self, image: LabelledImage, with_boxes: bool) -> None:
        """Count an image that is written."""
        self.images += 1
        self.boxes += len(image.boxes)
        self.masks += image.mask is not None
        self.empty += with_boxes and not image.boxes

    def to_dict(self) -> dict[str, Any]:
        """The summary ready for JSON."""
        return asdict(self)

"""Settings of an export: those of boxes and masks, and what is written, in one flat namespace."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

from sess_kernels.errors import ConfigError, unknown
from sess_kernels.pseudo import BoxConfig, MaskConfig

BOX_SCORES = ("map", "class", "product")
IMAGES = ("auto", "none", "link", "copy")

Part = TypeVar("Part", BoxConfig, MaskConfig)


@dataclass(frozen=True, kw_only=True)
class ExportConfig(BoxConfig, MaskConfig):
    """Settings of an export; see also ``BoxConfig`` and ``MaskConfig``.

    Attributes:
        box_score: Score of a box: the ``map``'s inside it; the ``class``'s in the image; or their
            ``product``, for classes that are predicted.
        min_score: Leave out boxes below this score.
        masks: Add pseudo-masks to ``coco``, ``huggingface`` and ``fiftyone``.
        rle: Write COCO run lengths beside the pictures of ``masks``.
        images: What becomes of the photographs: ``none``, ``link`` (symbolic links), ``copy``;
            ``auto`` copies them for ``huggingface`` alone.
        ids_from: COCO JSON file whose image and category ids are used, found by file name; that of
            the source, if it is a ``coco:`` one.
        map_size: Side of ``wsol`` maps, which wsolevaluation wants at 224; that of the photograph
            if not given.
        tensors: Hold ``keys`` and ``cam`` of ``irn`` as torch tensors, as its random walk wants.
        limit: Take only the first images.
        threads: Images that are worked on at once.

    Raises:
        ConfigError: One message for all values that are out of range.

    Example:
        >>> ExportConfig(min_area=0.01).boxes.min_area
        0.01
    """

    box_score: str = "map"
    min_score: float = 0.0
    masks: bool = False
    rle: bool = False
    images: str = "auto"
    ids_from: str | None = None
    map_size: int | None = None
    tensors: bool = False
    limit: int | None = None
    threads: int = 2

    def __post_init__(self) -> None:
        found = self.faults()
        if found:
            raise ConfigError(found)

    def faults(self) -> list[str]:
        """One sentence for every value that is out of range."""
        found: list[str] = []
        for part in ("boxes", "mask"):
            try:
                getattr(self, part)
            except ConfigError as error:
                found += error.faults
        chosen = [("box_score", self.box_score, BOX_SCORES), ("images", self.images, IMAGES)]
        found += [unknown(what, str(got), known) for what, got, known in chosen if got not in known]
        if not (isinstance(self.min_score, int | float) and 0 <= self.min_score <= 1):
            found.append(f"min_score must be in [0, 1] but got {self.min_score!r}")
        for name in ("map_size", "limit", "threads"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                found.append(f"{name} must be a whole number of at least 1 but got {value!r}")
        return found

    @property
    def boxes(self) -> BoxConfig:
        """Those of them that are settings of pseudo-boxes."""
        return self._part(BoxConfig)

    @property
    def mask(self) -> MaskConfig:
        """Those of them that are settings of pseudo-masks."""
        return self._part(MaskConfig)

    def _part(self, part: type[Part]) -> Part:
        settings: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(part)}
        return part(**settings)

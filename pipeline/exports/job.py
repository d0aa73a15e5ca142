"""An export as its format sees it, and what a format is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.exports.classes import Classes
from pipeline.exports.coco_ids import CocoIds
from pipeline.exports.config import ExportConfig
from pipeline.exports.image_names import ImageNames, photograph_extension
from pipeline.exports.labelled import LabelledImage
from pipeline.exports.photographs import link
from pipeline.files import Folder


@dataclass(frozen=True)
class Wanted:
    """What a format wants of each image.

    Attributes:
        boxes: Whether it wants boxes.
        mask: Whether it wants a mask.
        images: What becomes of the photograph: ``none``, ``link`` or ``copy``.
    """

    boxes: bool
    mask: bool
    images: str


@dataclass(frozen=True)
class ExportJob:
    """What an export knows before its first image.

    Attributes:
        out: Folder of the run.
        to: Where it goes as the user gave it: a path, a URI, a name.
        config: Its settings.
        wanted: What it makes of each image.
        record: ``run.json``.
        classes: Classes of the dataset.
        names: File names of the images.
        coco_ids: Ids of images and categories in COCO files.
        images: Place of each image that has maps, by its id.
        overwrite: Whether an earlier export may be replaced.
    """

    out: Folder
    to: str
    config: ExportConfig
    wanted: Wanted
    record: dict[str, Any]
    classes: Classes
    names: ImageNames
    coco_ids: CocoIds
    images: Mapping[str, int]
    overwrite: bool

    @property
    def dest(self) -> Folder:
        """The folder it goes to."""
        return Folder.of(self.to)

    @property
    def refines(self) -> bool:
        """Whether masks are refined, for which photographs are decoded."""
        return self.wanted.mask and self.config.mask.refine != "none"

    @property
    def reads_photographs(self) -> bool:
        """Whether photographs are read."""
        return self.refines or self.wanted.images == "copy"

    def place_photograph(self, one: LabelledImage, name: str) -> None:
        """Copy or link the photograph of an image to ``name`` in the folder, if asked for."""
        if one.photograph is not None:
            self.dest.write(name, one.photograph, sync=False)
        elif self.wanted.images == "link":
            link(one.image.uri, self.dest, name)

    def photograph_name(self, one: LabelledImage) -> str:
        """The name of an image with the extension of its photograph."""
        return one.name + photograph_extension(one.image.image_id, one.image.uri)


def no_check(job: ExportJob) -> None:
    """Nothing to check."""


@dataclass(frozen=True)
class Format:
    """A format of exports.

    Attributes:
        write: Writes all images, one after the other.
        read: A line that reads what was written; ``{to}`` stands for where it is.
        boxes: Whether it wants boxes.
        mask: Whether it wants masks: ``never``, ``asked`` or ``always``.
        images: What becomes of photographs if it is not said: ``none`` or ``copy``.
        may: What else may become of them.
        coco_ids: Whether, under some settings, it writes ids of COCO files.
        by_stem: Whether files are named by the image without its extension.
        is_folder: Whether it goes to a folder.
        check: Raises ``SessError`` for what can be known before anything is written.
    """

    write: Callable[[Iterator[LabelledImage], ExportJob], None]
    read: str
    boxes: bool = True
    mask: Literal["never", "asked", "always"] = "never"
    images: Literal["none", "copy"] = "none"
    may: tuple[str, ...] = ("none", "link", "copy")
    coco_ids: Callable[[ExportConfig], bool] = lambda config: False
    by_stem: bool = False
    is_folder: bool = True
    check: Callable[[ExportJob], None] = no_check

    def wanted(self, config: ExportConfig) -> Wanted:
        """What it wants of each image under some settings."""
        mask = self.mask == "always" or (self.mask == "asked" and config.masks)
        return Wanted(self.boxes, mask, self.images if config.images == "auto" else config.images)

"""How good pseudo-masks and pseudo-boxes of a finished run are, beside those of its base method."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobs.benchmarks.measure import Row, Setting, spread
from jobs.benchmarks.pseudo_judges import BoxJudge, MaskJudge
from pipeline.config import RunConfig
from pipeline.files import Folder
from pipeline.images import read_rgb
from pipeline.layout import RUN_FILE
from pipeline.read import ImageMaps, read_images
from pipeline.report import base_saliency
from pipeline.sources.voc import VOC_CLASSES
from pipeline.stages import BackboneSpec
from pipeline.truth import ImageTruth, open_truth
from sess_kernels import Backbone
from sess_kernels.errors import SessError, unknown
from sess_kernels.pseudo import MaskConfig, pseudo_boxes
from sess_kernels.pseudo.refinements import refine
from sess_kernels.saliency import METHODS, BaseMethod, base_method

_PAMR = MaskConfig(refine="pamr")


def pseudo(setting: Setting) -> list[Row]:
    """Rows of masks and of boxes, of maps as they are and refined, for SESS and its base method.

    ``source`` is the OUT of a finished run whose classes are those of VOC, ``truth`` is
    ``voc:DIR``. The base method explains the whole image, squeezed to the backbone's input.
    """
    if setting.source is None or setting.truth is None:
        raise SessError(
            "pseudo judges the maps of a finished run by PASCAL VOC; give --source OUT and "
            "--truth voc:DIR"
        )
    truth = open_truth(setting.truth, VOC_CLASSES)
    base = _Base(setting.source)
    judges = {name: _Judges() for name in (base.name, "SESS")}
    for image in read_images(setting.source):
        if not image.records:
            continue
        pixels = read_rgb(image.uri)
        if pixels.shape[:2] != (image.height, image.width):
            raise SessError(f"{image.uri} has another size than its maps; was it replaced?")
        true = truth.of(image.image_id, (image.height, image.width))
        if true is None:
            continue
        of_sess = torch.from_numpy(np.stack([one.map for one in image.records]))
        for name, maps in ((base.name, base.maps(pixels, image)), ("SESS", of_sess)):
            judges[name].add(image, maps, pixels, true)
        if true.faults:
            raise SessError(true.faults[0])
    rows = [row for name, one in judges.items() for row in one.rows(name)]
    if not rows:
        raise SessError(f"{setting.truth} has no image of {setting.source}")
    return [{"backbone": base.backbone_name} | row for row in rows]


class _Base:
    """The base method of a run, on whole images.

    Args:
        out: Folder of the run.
    """

    def __init__(self, out: str) -> None:
        folder = Folder.of(out)
        if not folder.exists(RUN_FILE):
            raise SessError(f"{out} is no OUT of a finished `sess run`")
        record = json.loads(folder.read(RUN_FILE))
        config = RunConfig(**record["config"])
        groups = record["resolved"].get("class_groups")
        spec = BackboneSpec(config.backbone, config.weights, config.target_layer, groups)
        self.backbone_name = config.backbone
        self.name = f"{METHODS[config.method].title} on the whole image"
        self._backbone: Backbone = spec.load()
        self._method: BaseMethod = base_method(config.method, config.method_options)

    def maps(self, pixels: NDArray[np.uint8], image: ImageMaps) -> Tensor:
        """Maps (K, H, W) of the classes that the run has maps of."""
        classes = [one.class_index for one in image.records]
        found = [base_saliency(pixels, one, self._backbone, self._method) for one in classes]
        return torch.from_numpy(np.stack(found))


class _Judges:
    """Judges of the maps of one kind."""

    def __init__(self) -> None:
        self._masks, self._refined_masks = MaskJudge(), MaskJudge()
        self._boxes, self._refined_boxes = BoxJudge(), BoxJudge()
        self._seconds: list[float] = []

    def add(
        self, image: ImageMaps, maps: Tensor, pixels: NDArray[np.uint8], truth: ImageTruth
    ) -> None:
        """Judge the maps (K, H, W) of an image."""
        classes = [_class_number(one.class_name) for one in image.records]
        began = time.perf_counter()
        refined = refine(torch.from_numpy(pixels.copy()).permute(2, 0, 1), maps, _PAMR)
        self._seconds.append(time.perf_counter() - began)
        if truth.mask is not None:
            self._masks.add(image.image_id, maps, classes, truth.mask)
            self._refined_masks.add(image.image_id, refined, classes, truth.mask)
        for judge, found in ((self._boxes, maps), (self._refined_boxes, refined)):
            for number, map_, record in zip(classes, found, image.records, strict=True):
                true = truth.classes.get(number)
                if true is not None and len(true.boxes):
                    judge.add(number, pseudo_boxes(map_), record.score, true)

    def rows(self, name: str) -> Iterator[Row]:
        """A row of masks and one of boxes, of maps as they are and refined, as there is a truth."""
        refinement = f"{_PAMR.refine}, {_PAMR.iterations} iterations"
        if self._masks:
            timed = {"refine_ms": spread([1e3 * one for one in self._seconds])}
            yield {"what": f"masks, {name}"} | self._masks.row()
            yield {"what": f"masks, {name}, {refinement}"} | self._refined_masks.row() | timed
        if self._boxes:
            yield {"what": f"boxes, {name}"} | self._boxes.row()
            yield {"what": f"boxes, {name}, {refinement}"} | self._refined_boxes.row()


def _class_number(name: str) -> int:
    if name not in VOC_CLASSES:
        raise SessError(unknown("class of VOC", name, VOC_CLASSES))
    return VOC_CLASSES.index(name)

"""What a search costs in quality: its maps and its rivals' beside those of every window."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from jobs.benchmarks.judged import Judged, judged, row_of
from jobs.benchmarks.measure import Row, Setting
from jobs.benchmarks.photographs import Photograph, grouped, photographs_of
from jobs.benchmarks.searched import (
    COARSE,
    RANDOM,
    SEARCH,
    Answers,
    Chosen,
    answers_of,
    known,
    replay,
    rival,
)
from pipeline.labels import LabelResolver
from sess_kernels import SESS, SESSConfig
from sess_kernels.errors import SessError, one_line

EVERY = "every window"
_RATIO = 0.9
_TOGETHER = 8  # photographs whose patches fill device batches
_COLUMNS = ("image", "label", "x0", "y0", "x1", "y1")

Boxes = dict[tuple[str, int], Tensor]
"""Boxes (M, 4), ``xyxy`` in pixels, by the file name of an image and the class."""


def quality(setting: Setting) -> list[Row]:
    """A row for each rule: its figures, and the paired differences from every window."""
    if setting.source is None or setting.truth is None or setting.labels == "predicted":
        raise SessError(
            "quality is measured on photographs whose classes and boxes are known; give "
            "--source, --labels given and --truth"
        )
    backbone = grouped(setting)
    photographs = photographs_of(setting, backbone)
    boxes = read_boxes(Path(setting.truth), LabelResolver(backbone.class_names, backbone.name))
    config = SESSConfig(scales=setting.scales, pre_filter_ratio=_RATIO)
    compared = Compared(SESS(backbone, config=config, batch_size=setting.batch_size), boxes)
    for start in range(0, len(photographs), _TOGETHER):
        chunk = photographs[start : start + _TOGETHER]
        images = [one.read() for one in chunk]
        answers = answers_of(compared.explain, images, [one.classes for one in chunk])
        for one, image, found in zip(chunk, images, answers, strict=True):
            compared.add(one, image, found)
    if not compared.owners:
        raise SessError(f"{setting.truth} has no box of the classes of {setting.source}")
    return [{"backbone": setting.backbone, **row} for row in compared.rows()]


def read_boxes(path: Path, resolve: LabelResolver) -> Boxes:
    """Boxes from a CSV with the columns image, label, x0, y0, x1, y1, in pixels.

    Raises:
        SessError: If it cannot be read, a column is missing, a corner is no number, or a label is
            unknown.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SessError(f"{path} cannot be read as a CSV of boxes: {one_line(error)}") from error
    missing = [name for name in _COLUMNS if not rows or name not in rows[0]]
    if missing:
        raise SessError(f"{path} has no column {missing[0]}; it needs {', '.join(_COLUMNS)}")
    names = [row["image"] for row in rows]
    classes = resolve(pa.array(names), pa.array([[row["label"]] for row in rows])).to_pylist()
    found: dict[tuple[str, int], list[list[float]]] = {}
    for line, (row, [index]) in enumerate(zip(rows, classes, strict=True), 2):
        try:
            corners = [float(row[name]) for name in _COLUMNS[2:]]
        except (TypeError, ValueError) as error:
            raise SessError(f"{path}, line {line}: a corner of a box is no number") from error
        found.setdefault((Path(row["image"]).name, index), []).append(corners)
    return {key: torch.tensor(corners) for key, corners in found.items()}


class Compared:
    """Maps of the search and of its rivals, judged beside those of every window.

    Args:
        explain: SESS with every window.
        boxes: The truth; classes of images without a box are left out.

    Attributes:
        owners: Number of the photograph of each map that was judged.
    """

    def __init__(self, explain: SESS, boxes: Boxes) -> None:
        self.explain, self._boxes = explain, boxes
        self.owners: list[int] = []
        self._judged: dict[str, list[Judged]] = {EVERY: []}
        self._shares: dict[str, list[float]] = {EVERY: []}

    def add(self, photograph: Photograph, image: np.ndarray, answers: Answers) -> None:
        """Judge the maps of every class of a photograph, by every rule."""
        number = len(self._shares[EVERY])
        rules = self._rules(answers, number)
        scores = [known(answers, asked) for asked in rules.values()]
        found = self.explain.explain_patches([image] * len(rules), scores)
        for rule, asked in rules.items():
            self._shares.setdefault(rule, []).append(float(asked.mean()))
        for place, index in enumerate(answers.scores.classes):
            boxes = self._boxes.get((photograph.name, index))
            if boxes is None:
                continue
            self.owners.append(number)
            maps = [of_rule[place].map for of_rule in found]
            for rule, one in zip(rules, maps, strict=True):
                same = rule != EVERY and torch.equal(one, maps[0])
                backbone = self.explain.backbone
                done = self._judged.setdefault(rule, [])
                if same:
                    done.append(self._judged[EVERY][-1])
                else:
                    done.append(judged(backbone, image, one, index, boxes))

    def _rules(self, answers: Answers, number: int) -> dict[str, Chosen]:
        """The windows that each rule scores, every window first."""
        config = self.explain.config
        asked = replay(answers, config)
        rivals = {
            rule: rival(rule, answers.grids, int(asked.sum()), number) for rule in (COARSE, RANDOM)
        }
        return {EVERY: np.ones_like(asked), SEARCH: asked, **rivals}

    def rows(self) -> list[Row]:
        """Figures of each rule over the maps, and differences with intervals over photographs."""
        rows = []
        for rule, found in self._judged.items():
            against = None if rule == EVERY else self._judged[EVERY]
            row = {"what": rule, "share_of_windows": float(np.mean(self._shares[rule]))}
            if against:
                row["against"] = EVERY
            counts = {"photographs": len(self._shares[EVERY]), "maps": len(self.owners)}
            rows.append(row | row_of(found, against, self.owners) | counts)
        return rows

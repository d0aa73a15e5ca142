"""The backbone of a run: what a worker needs to load it, and the files that belong to it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from pipeline.config import RunConfig
from pipeline.groups import GROUPS, N_OUTPUTS, shipped_groups
from pipeline.nearby import first_alone
from pipeline.stages.weights import Weights, read_weights
from pipeline.stores import read_bytes
from sess_kernels import Backbone, load_backbone
from sess_kernels.errors import SessError, one_line, unknown


@dataclass(frozen=True)
class BackboneSpec:
    """What a worker needs to load its backbone; loaded on the worker, never pickled.

    Attributes:
        name: As in ``sess_kernels.load_backbone``.
        weights: File as of ``read_weights``, or ``None`` for the published weights.
        target_layer: Layer to explain, or ``None`` for the last feature map before pooling.
        class_groups: Outputs of each class, or ``None``: what the file said when the run began.
        n_outputs: Outputs of the classifier that these groups are made for; any if not given.
    """

    name: str = "lite0"
    weights: str | None = None
    target_layer: str | None = None
    class_groups: dict[str, list[int]] | None = None
    n_outputs: int | None = None

    @classmethod
    def of(cls, config: RunConfig) -> BackboneSpec:
        """The backbone that a run asks for.

        Raises:
            SessError: If there are no such class groups, or their file holds something else.
        """
        groups = read_class_groups(config.class_groups) if config.class_groups else None
        n_outputs = N_OUTPUTS if config.class_groups in GROUPS else None
        return cls(config.backbone, config.weights, config.target_layer, groups, n_outputs)

    def load(self, device: str = "cpu") -> Backbone:
        """Load the backbone; its weights are fetched once, however many of a machine ask.

        Raises:
            SessError: If a name is unknown, weights are missing, or these or groups do not fit.
        """
        given = read_weights(self.weights) if self.weights else Weights()
        with first_alone(self.name):
            backbone = load_backbone(
                self.name, target_layer=self.target_layer, device=device, **given._asdict()
            )
        if self.n_outputs not in (None, backbone.n_classes):
            raise SessError(
                f"these class groups are for the {self.n_outputs} outputs of ImageNet-1k but "
                f"{self.name} has {backbone.n_classes}; give --class-groups FILE for its outputs"
            )
        if self.class_groups:
            backbone.group_classes(self.class_groups)
        return backbone


def without_outputs(class_groups: str | None) -> frozenset[str]:
    """Labels of the class groups that no output stands for: names in lower case, and indices.

    Raises:
        SessError: As ``read_class_groups``.
    """
    groups = read_class_groups(class_groups) if class_groups else {}
    empty = [(str(place), name) for place, name in enumerate(groups) if not groups[name]]
    return frozenset(label.lower() for labels in empty for label in labels)


def read_class_groups(path: str) -> dict[str, list[int]]:
    """Class groups that ship, or of a JSON file: ``{"cat": [281, 282, 283], "sink": [], ...}``.

    An empty group is a class that no output stands for; labels of it are left out of a run.

    Args:
        path: A name of ``groups.GROUPS``, or the path of a file.

    Raises:
        SessError: If the name is unknown, or the file is missing or holds something else.

    Example:
        >>> read_class_groups("voc20")["sheep"]
        [348, 349]
    """
    if path in GROUPS:
        return shipped_groups(path)
    try:
        groups = json.loads(read_bytes(path))
    except FileNotFoundError:
        if re.fullmatch(r"[\w-]+", path):
            raise SessError(f"{unknown('class groups', path, GROUPS)}, or a file") from None
        raise SessError(f"class groups {path} do not exist; check the path") from None
    except (OSError, ValueError, RecursionError) as error:
        raise SessError(f"class groups {path} cannot be read: {one_line(error)[:160]}") from error
    if not isinstance(groups, dict) or not any(groups.values()):
        raise SessError(f'class groups {path} must hold {{"name": [index, ...], ...}}')
    for name, outputs in groups.items():
        if not isinstance(outputs, list) or not all(type(index) is int for index in outputs):
            raise SessError(
                f"class groups {path}: {name!r} must list indices of outputs but has {outputs!r}"
            )
    return groups

"""Class groups that ship: ImageNet-1k's outputs for the classes of VOC and of COCO.

The JSON files here are made from the names in ``chosen``: ``python -m pipeline.groups --write``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from itertools import pairwise

from pipeline.groups.chosen import COCO80, VOC20

GROUPS = {"voc20": VOC20, "coco80": COCO80}
"""Chosen names by what ``--class-groups`` calls them."""

N_OUTPUTS = 1000
"""Outputs of a classifier that the groups that ship are made for."""

Groups = dict[str, list[int]]


def shipped_groups(name: str) -> Groups:
    """The outputs of each class, in the order of the dataset; none for some.

    Args:
        name: A name of ``GROUPS``.

    Example:
        >>> groups = shipped_groups("coco80")
        >>> len(groups), groups["cat"], groups["giraffe"]
        (80, [281, 282, 283, 284, 285], [])
    """
    found: Groups = json.loads(resources.files(__name__).joinpath(file_name(name)).read_text())
    return found


def file_name(name: str) -> str:
    """Name of the JSON file of groups that ship.

    Example:
        >>> file_name("voc20")
        'imagenet1k_voc20.json'
    """
    return f"imagenet1k_{name}.json"


def made_groups(name: str, class_names: Sequence[str]) -> Groups:
    """Outputs from the chosen names.

    Args:
        name: A name of ``GROUPS``.
        class_names: The names of ImageNet's classes, in the order of the outputs.

    Raises:
        ValueError: If a chosen name is none of them, or one is chosen twice.
    """
    lines = GROUPS[name].strip().replace("\n    ", " ").splitlines()
    chosen = {one: parts for one, _, parts in (line.partition(":") for line in lines)}
    groups = {one: _outputs(parts.split(","), class_names) for one, parts in chosen.items()}
    whole = sorted(index for outputs in groups.values() for index in outputs)
    twice = [class_names[one] for one, two in pairwise(whole) if one == two]
    if twice:
        raise ValueError(f"{name} has these ImageNet classes twice: {', '.join(twice)}")
    return groups


def _outputs(parts: Sequence[str], class_names: Sequence[str]) -> list[int]:
    found: set[int] = set()
    for part in filter(None, map(str.strip, parts)):
        if part.startswith("as "):
            found.update(made_groups("voc20", class_names)[part[3:]])
        else:
            first, _, last = part.partition(" .. ")
            start, end = (_index(one, class_names) for one in (first, last or first))
            found.update(range(start, end + 1))
    return sorted(found)


def _index(name: str, class_names: Sequence[str]) -> int:
    if name not in class_names:
        raise ValueError(f"ImageNet has no class {name!r}")
    return class_names.index(name)

"""``python -m pipeline.groups``: the tables of ``docs/class-groups.md``.

With ``--write`` the page and the JSON files of the package, in a working copy, are brought up to
what ``chosen`` says.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.groups import GROUPS, Groups, file_name, made_groups
from sess_kernels.backbones.loaders import imagenet_classes

_END = "<!-- end -->"
_NAMED = 5  # neighbours that are all named
PAGE = Path(__file__).parents[2] / "docs" / "class-groups.md"


def table(groups: Groups, class_names: Sequence[str]) -> str:
    """A Markdown table: class, and the ImageNet classes that stand for it.

    Example:
        >>> print(table({"cat": [1, 2], "kite": []}, ["lynx", "tabby", "Persian cat"]))
        | class | ImageNet classes (output) |
        |---|---|
        | cat | tabby (1), Persian cat (2) |
        | kite | none |
    """
    rows = [f"| {name} | {_told(outputs, class_names)} |" for name, outputs in groups.items()]
    return "\n".join(["| class | ImageNet classes (output) |", "|---|---|", *rows])


def page(text: str, tables: dict[str, str]) -> str:
    """The page with its tables, each between two comments, as they are now."""
    for name, new in tables.items():
        before, mark, after = text.partition(f"<!-- {name} -->\n")
        text = f"{before}{mark}{new}\n{after[after.index(_END) :]}"
    return text


def content(groups: Groups) -> str:
    """The JSON file of groups, a line for each class."""
    lines = [f"  {json.dumps(name)}: {json.dumps(outputs)}" for name, outputs in groups.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _told(outputs: Sequence[int], class_names: Sequence[str]) -> str:
    runs: list[list[int]] = []
    for index in outputs:
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    parts: list[str] = []
    for run in runs:
        named = [f"{class_names[index]} ({index})" for index in run]
        parts += named if len(run) <= _NAMED else [f"{named[0]} to {named[-1]}"]
    return ", ".join(parts) or "none"


def main() -> None:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.groups", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the page and the JSON files")
    asked = parser.parse_args()
    names = imagenet_classes()
    groups = {name: made_groups(name, names) for name in GROUPS}
    tables = {name: table(one, names) for name, one in groups.items()}
    if not asked.write:
        print("\n\n".join(f"{name}\n\n{one}" for name, one in tables.items()))
        return
    PAGE.write_text(page(PAGE.read_text(), tables))
    for name, one in groups.items():
        Path(__file__).with_name(file_name(name)).write_text(content(one))


if __name__ == "__main__":
    main()

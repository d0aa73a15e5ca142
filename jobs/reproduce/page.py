"""One page of all results in a folder."""

from __future__ import annotations

import posixpath
from pathlib import Path

from jobs.reproduce.experiment import WHATS
from jobs.reproduce.results import Result
from jobs.reproduce.tables import markdown
from pipeline.files import Folder
from pipeline.sources.folder import walk
from pipeline.sources.reading import is_folder
from sess_kernels.errors import SessError

_ABOVE = """# Results

The experiments of the paper (Tursun et al., ECCV 2022) and ablations in their manner, made by
`sess reproduce`. Figures are percent where nothing else is said; of deletion and of seconds less is
better. A difference is ours less the paper's, in points.
"""


def write_page(out: str, page: Path) -> int:
    """Put all results in a folder, and in folders within it, into one page of markdown.

    Pictures are copied to a folder beside the page that is called as it is.

    Args:
        out: The folder.
        page: The page.

    Returns:
        How many results there are.

    Raises:
        SessError: If there are none, or the page cannot be written.
    """
    folder = Folder.of(out)
    found = results_in(folder) if is_folder(folder) else []
    if not found:
        raise SessError(f"{out} holds no results; make some with sess reproduce WHAT --out {out}")
    pictures = page.with_suffix("")
    parts = [_ABOVE]
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        for place, result in found:
            for name in result["pictures"]:
                pictures.mkdir(exist_ok=True)
                (pictures / name).write_bytes((folder / place).read(name))
            parts.append(markdown(result, f"{pictures.name}/"))
        page.write_text("\n".join(parts))
    except OSError as error:
        raise SessError(f"--page {page} cannot be written: {error.strerror or error}") from error
    return len(found)


def results_in(folder: Folder) -> list[tuple[str, Result]]:
    """Results in a folder at any depth, each with its place there, in the order of the paper."""
    names = {f"{what}.json": number for number, what in enumerate(WHATS)}
    paths = [one for one in _files(folder) if posixpath.basename(one) in names]
    paths.sort(key=lambda one: (names[posixpath.basename(one)], one))
    return [(posixpath.dirname(one) or ".", folder.read_json(one)) for one in paths]


def _files(folder: Folder) -> list[str]:
    return [one for one in walk(folder.files, folder.path, "") if one.endswith(".json")]

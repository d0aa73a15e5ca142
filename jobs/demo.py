"""``sess demo``: photographs that ship with scikit-image, through Ray, to a page."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from PIL import Image

from jobs.photos import PHOTOS, photo
from jobs.progress import RunProgress
from jobs.run import show_summary
from pipeline import RunConfig
from pipeline import run as run_pipeline
from sess_kernels.errors import SessError


def demo(
    *,
    out: Path = Path("sess-demo"),
    engine: Annotated[str, Parameter(help="ray or local")] = "ray",
) -> int:
    """Explain five photographs that come with scikit-image; ends with the path of a page.

    Args:
        out: Folder for photographs, maps and report; an earlier demo there is replaced.
        engine: Engine to run on.
    """
    photos = out / "photos"
    _write_photos(photos)
    # the photographs lie in OUT, so that the page and the records keep together
    maps = out / "run"
    config = RunConfig(scales=10, smooth=True, engine=engine, keep_patches=True)
    with RunProgress() as progress:
        summary = run_pipeline(
            f"table:{photos / 'photos.csv'}",
            maps,
            config,
            overwrite=True,
            on_plan=progress.planned,
            on_batch=progress.done,
        )
    show_summary(summary, str(maps))
    from pipeline.report import write_report

    page = write_report(maps, out / "report")
    print(f"open {page}")
    return 1 if summary.failed else 0


def _write_photos(folder: Path) -> None:
    pixels = {name: photo(name) for name in PHOTOS}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SessError(f"--out {folder.parent} cannot be written: {error.strerror}") from error
    with (folder / "photos.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "label"])
        for name, class_index in PHOTOS.items():
            Image.fromarray(pixels[name]).save(folder / f"{name}.png")
            table.writerow([f"{name}.png", class_index])

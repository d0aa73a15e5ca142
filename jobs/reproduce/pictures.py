"""Pictures of maps of single photographs, as figures 7, 9, 10 and 11 of the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jobs.reproduce.cases import Case, Row, cases_of, digest_of
from jobs.reproduce.experiment import Experiment
from jobs.reproduce.kept import rows_of
from jobs.reproduce.photographs import Photograph, photographs_of
from jobs.reproduce.plots import file_of, new_figure
from jobs.reproduce.settings import Data, ReproduceConfig
from pipeline import RunConfig
from pipeline.engines.units import devices_here
from pipeline.files import Folder
from pipeline.stages import BackboneSpec, kernel
from sess_kernels import ClassSaliency, PatchSaliency, fuse_patches
from sess_kernels.fuse import fuse, rescale
from sess_kernels.smooth import smooth
from sess_kernels.windows import Grid, Window

_LOOK: dict[str, Any] = {"cmap": "inferno", "alpha": 0.7, "vmin": 0, "vmax": 1}
_FRAME = "#FF0000"  # as in the paper
_CELL = 2.2  # inches
_COLUMNS = 8  # of patches
_MOST = 48  # patches that are drawn


class Explained(NamedTuple):
    """A photograph and its map with the patches.

    Attributes:
        photograph: The photograph.
        config: Settings of the map.
        saliency: The map.
    """

    photograph: Photograph
    config: RunConfig
    saliency: ClassSaliency


def measure(experiment: Experiment, settings: ReproduceConfig, show: bool) -> Iterator[Row]:
    """Rows with a ``picture`` each, a PNG beside the results, one for a backbone and a method.

    Args:
        experiment: The experiment.
        settings: What was asked for.
        show: Nothing is shown on the way.

    Raises:
        SessError: If a source or an image cannot be read, or matplotlib is missing.
    """
    new_figure(1, 1)  # matplotlib is there
    out = Folder.of(settings.out)
    for data in settings.sources() or [Data("photographs of scikit-image", "")]:
        given = data if settings.data else None
        photographs, digest = photographs_of(experiment, settings, given)
        cases = cases_of(experiment, settings, data)
        for _, group in groupby(cases, key=lambda case: (case.network, case.method)):
            alike = list(group)
            keys = [case.key(settings, digest) for case in alike]
            name = f"{keys[0].rpartition('-')[0]}-{digest_of(keys)}"
            find = partial(_drawn, alike, settings, photographs, out, f"{experiment.name}-{name}")
            yield from rows_of(alike[0], name, out, find)


def plain_average(patches: Sequence[PatchSaliency], size: tuple[int, int]) -> Tensor:
    """What figure 9 compares with: the average over all patches, where they lie or not.

    Args:
        patches: Kept patches of a map.
        size: Height and width of the image in pixels.

    Returns:
        (H, W) in [0, 1].
    """
    total = torch.zeros(size)
    for one in patches:
        left, top, right, _ = one.window
        window = Window(Grid(*one.scaled_size, (top,), (left,)), top, left)
        config = RunConfig(window_size=right - left)
        total += fuse(one.map[None], torch.tensor([one.score]), [window], size, config)
    return rescale(total / len(patches))


def _drawn(
    cases: Sequence[Case],
    settings: ReproduceConfig,
    photographs: Sequence[Photograph],
    out: Folder,
    name: str,
) -> dict[str, dict[str, Any]]:
    draw_ = _DRAWN[cases[0].experiment.name]
    rows = [explained(case.config(settings), photographs) for case in cases]
    picture = f"{name}.jpg"
    out.create()
    out.write(picture, draw_(rows, [case.run.name for case in cases]))
    return {"": {"images": len(photographs), "failed": 0, "picture": picture}}


def explained(config: RunConfig, photographs: Sequence[Photograph]) -> list[Explained]:
    """Each photograph with its map, made in this process.

    Raises:
        SessError: If the backbone cannot be loaded, or the method cannot explain it.
    """
    torch.set_num_threads(config.threads)
    explain = kernel(BackboneSpec.of(config).load(devices_here(config)[0]), config)
    found = []
    for one in photographs:
        classes = [one.classes(explain.backbone)]
        [[saliency, *_]] = explain([one.pixels], classes, keep_patches=True)
        found.append(Explained(one, config, saliency))
    return found


def _weights(runs: Sequence[Sequence[Explained]], _: Sequence[str]) -> bytes:
    return _grid(
        [
            [("without weights", _again(one, channel_weights="none")), ("with", _map(one))]
            for one in runs[0]
        ],
        runs[0],
    )


def _average(runs: Sequence[Sequence[Explained]], _: Sequence[str]) -> bytes:
    return _grid(
        [[("plain average", _plain(one)), ("average above theta", _map(one))] for one in runs[0]],
        runs[0],
    )


def _steps(runs: Sequence[Sequence[Explained]], names: Sequence[str]) -> bytes:
    rows = zip(*runs, strict=True)
    cells = [list(zip(names, map(_map, row), strict=True)) for row in rows]
    return _grid(cells, runs[0])


def _patches(runs: Sequence[Sequence[Explained]], _: Sequence[str]) -> bytes:
    """The patches of every photograph by scale, each map in its place with its window in red."""
    drawn = [(one, patch) for one in runs[0] for patch in _by_scale(one.saliency.patches)]
    columns = min(_COLUMNS, len(drawn))
    n_rows = -(-len(drawn) // columns)
    figure = new_figure(_CELL * columns, _height(runs[0]) * n_rows)
    panels = figure.subplots(n_rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, (one, patch) in zip(panels, drawn, strict=False):
        _patch(axes, one.photograph, patch)
    return file_of(figure, "jpg")


_DRAWN: dict[str, Callable[[Sequence[Sequence[Explained]], Sequence[str]], bytes]] = {
    "fig7": _weights,
    "fig9": _average,
    "fig10": _steps,
    "fig11": _patches,
}


def _by_scale(patches: Sequence[PatchSaliency]) -> list[PatchSaliency]:
    best = sorted(patches, key=lambda one: -one.score)[:_MOST]
    return sorted(best, key=lambda one: (one.scale, one.window[1], one.window[0]))


def _patch(axes: Any, photograph: Photograph, patch: PatchSaliency) -> None:
    from matplotlib.patches import Rectangle

    left, top, right, bottom = patch.box
    height, width = photograph.pixels.shape[:2]
    axes.imshow(photograph.pixels)
    place = (left, right, bottom, top)
    axes.imshow(patch.map, extent=place, interpolation="bilinear", **_LOOK)
    frame = Rectangle((left, top), right - left, bottom - top, fill=False, color=_FRAME)
    axes.add_patch(frame)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.set_title(f"scale {patch.scale}, score {patch.score:.2f}", fontsize=8)


def _grid(cells: Sequence[Sequence[tuple[str, Tensor]]], of: Sequence[Explained]) -> bytes:
    """A row for each photograph: itself, then its maps over it."""
    columns = 1 + len(cells[0])
    figure = new_figure(_CELL * columns, _height(of) * len(cells))
    panels = figure.subplots(len(cells), columns, squeeze=False)
    for axes, row, one in zip(panels, cells, of, strict=True):
        for panel in axes:
            panel.imshow(one.photograph.pixels)
            panel.set_axis_off()
        for panel, (_, map_) in zip(axes[1:], row, strict=True):
            panel.imshow(map_.numpy(), **_LOOK)
    titles = ["photograph", *(title for title, _ in cells[0])]
    for panel, title in zip(panels[0], titles, strict=True):
        panel.set_title(title, fontsize=9)
    return file_of(figure, "jpg")


def _height(of: Sequence[Explained]) -> float:
    """Height of a cell in inches, with its title, for the tallest photograph."""
    tallest: float = max(one.pixels.shape[0] / one.pixels.shape[1] for one, *_ in of)
    return 0.25 + _CELL * min(2.0, tallest)


def _map(one: Explained) -> Tensor:
    return one.saliency.map.cpu()


def _again(one: Explained, **changes: Any) -> Tensor:
    """The map that other settings would have given."""
    size = one.photograph.pixels.shape[:2]
    return fuse_patches(one.saliency.patches, size, replace(one.config, **changes))


def _plain(one: Explained) -> Tensor:
    map_ = plain_average(one.saliency.patches, one.photograph.pixels.shape[:2])
    return smooth(map_) if one.config.smooth else map_

"""Scores of the frames of insertion and deletion, in device batches of one fixed size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from sess_kernels.backbones import Backbone
from sess_kernels.checks import check_classes, check_finite
from sess_kernels.memory import keep_freed_memory
from sess_kernels.metrics.curves import CurveSettings, Frame, MapQuery, frames
from sess_kernels.precision import exact_fp32

_ON_CPU, _ON_OTHERS = 4, 128  # frames of a device batch: SESS has as many patches


@exact_fp32()
@torch.no_grad()
def scores_of(
    backbone: Backbone,
    queries: Sequence[MapQuery],
    settings: CurveSettings,
    batch_size: int | None = None,
) -> Tensor:
    """Scores of the class of each map in every frame; see ``insertion.score_curves``.

    Returns:
        float64 (N, 2, T) on the CPU: insertion and deletion of N maps, T frames of each.
    """
    _check(backbone, queries)
    if backbone.device.type == "cpu":
        keep_freed_memory()
    found, places = [torch.zeros(0, device=backbone.device)], [torch.zeros(0, 3).long()]
    drawn = frames(backbone, queries, settings)
    for batch, some in _batches(backbone, drawn, batch_size or _batch_size(backbone)):
        scores = backbone.scores(backbone(batch)[1])
        belong = [(row, place) for row, frame in enumerate(some) for place in frame.places]
        rows = torch.tensor([row for row, _ in belong])
        classes = torch.tensor([queries[place.query].class_index for _, place in belong])
        found.append(scores[rows.to(scores.device), classes.to(scores.device)])
        places.append(torch.tensor([place for _, place in belong]))
    scores = torch.cat(found).double().cpu()
    check_finite(scores, f"the scores of {backbone.name}")
    n_frames = len(settings.moved(backbone.input_size**2))
    curves = torch.zeros(len(queries), 2, n_frames, dtype=torch.float64)
    curves[torch.cat(places).unbind(1)] = scores
    return curves


def _check(backbone: Backbone, queries: Sequence[MapQuery]) -> None:
    check_classes(len(queries), [[query.class_index] for query in queries], backbone)
    for number, query in enumerate(queries):
        saliency = query.saliency
        if saliency.ndim != 2 or not saliency.numel():
            raise ValueError(
                f"Expected a map (H, W) for query {number} but got {tuple(saliency.shape)}"
            )
        if not bool(saliency.isfinite().all()):
            raise ValueError(f"Expected a map of finite values for query {number}")


def _batch_size(backbone: Backbone) -> int:
    if backbone.fixed_forward:
        return backbone.fixed_forward.shape[0]
    return backbone.batch_size or (_ON_CPU if backbone.device.type == "cpu" else _ON_OTHERS)


def _batches(
    backbone: Backbone, given: Iterator[Frame], batch_size: int
) -> Iterator[tuple[Tensor, list[Frame]]]:
    """Batches (batch_size, 3, S, S) in one place of memory; behind the last frame is anything."""
    side, weights = backbone.input_size, backbone.parameters()
    dtype = next((one.dtype for one in weights if one.is_floating_point()), torch.float32)
    batch = torch.zeros(batch_size, 3, side, side, dtype=dtype, device=backbone.device)
    batch = batch.contiguous(memory_format=torch.channels_last)
    while some := list(islice(given, batch_size)):
        for row, frame in enumerate(some):
            batch[row] = frame.draw()
        yield batch, some

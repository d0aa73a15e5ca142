"""``sess bench``: what the product costs beside what it cannot do without.

What only the command line needs is imported elsewhere: this runs on machines that have no more than
torch and its kin, see ``jobs.bare``.
"""

from __future__ import annotations

import json as json_
import re
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from jobs.benchmarks import BENCHMARKS, Row, Setting, machine
from sess_kernels.errors import SessError, unknown

_DEFAULT = (
    *("forwards", "rivals", "methods", "references", "memory"),
    *("runtimes", "cpu", "search"),
)
_DEFAULT_BACKBONES = ("lite0",)
_OF_DEVICE = ("torchvision/resnet50", "torchvision/vgg16", "lite0")
_IMAGES_OF_DEVICE = 25  # at 10 scales 2,025 patches: one group, sixteen batches of 128 but for 23
_RESULTS = Path("benchmarks/results")  # of the repository, where it is run from there
_OF_ONE = (  # the first
    *("memory", "references", "plan", "overhead", "driver", "cpu", "search"),
    *("sizes", "dataset", "pseudo"),
)


def bench(
    *,
    what: tuple[str, ...] | None = None,
    backbone: tuple[str, ...] | None = None,
    device: str = "cpu",
    scales: int = 10,
    images: int | None = None,
    repeats: int = 5,
    threads: int = 1,
    batch_size: int | None = None,
    source: str | None = None,
    rows: int = 1_000_000,
    labels: str = "predicted",
    class_groups: str | None = None,
    truth: str | None = None,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Measure ratios side by side in one run.

    Example: sess bench --what forwards rivals --backbone lite0 torchvision/resnet50

    Args:
        what: forwards (SESS beside its bare forwards), rivals (other libraries' Grad-CAM), methods
            (Guided-BP and Group-CAM beside their passes), references (base methods beside other
            libraries'), memory (of fusion), runtimes (torch beside its compiler and OpenVINO),
            cpu (bare forwards, cores and batches shared out otherwise), precision (fp32 beside
            fast, on --source), search (beside every window, on --source or the photographs of
            `sess demo`), quality (what a search costs in quality, on --source with --truth),
            pseudo (masks and boxes of a finished run, by --truth voc:DIR; --source is its OUT),
            curves (insertion and deletion beside a plain loop over images, on photographs of
            `sess demo`, --images rounded up to as many for each core),
            engines (ray beside local), overhead (CPU that ray adds), scaleout (many workers that
            sleep), driver (memory of ray's, of --rows), plan (rows a second and memory, of --rows),
            sizes (of stored maps and what they lose, on --source, photographs or the OUT of a run
            with --map-dtype uint16 or float32, all of its maps), dataset (SaliencyDataset beside
            decoding alone; --source may be an OUT),
            device (SESS at several ratios and precisions beside its passes, bare and compiled). If
            not given device with --device cuda, else the first of these up to cpu, and search.
        backbone: Backbones, as in `sess run`; torchvision and timm ones get random weights. If not
            given lite0; for `device` torchvision/resnet50, torchvision/vgg16 and lite0. Run for the
            first alone: memory, references, plan, overhead, driver, cpu, search, sizes and dataset.
        device: cpu or cuda.
        scales: Number of scales.
        images: Drawn images of 227x227 pixels in each measurement, or photographs of --source. If
            not given 1; 25 for `device` on cuda. `search` without --source has its five.
        repeats: Measurements; rivals alternate.
        threads: CPU threads of a backbone worker.
        batch_size: Patches of a device batch.
        source: Photographs for `precision`, `search`, `quality` and `sizes`, as in `sess run`.
        rows: Rows of the table for `plan` and `driver`.
        labels: Classes of the photographs for `search`, `quality` and `sizes`, as in `sess run`.
        class_groups: Their class groups, as in `sess run`.
        truth: Boxes of the photographs for `quality`: a CSV with the columns image, label, x0, y0,
            x1, y1, in pixels. For `pseudo` voc:DIR, a folder of PASCAL VOC.
        out: File for the JSON. If not given `device` on cuda writes one for each backbone to
            benchmarks/results, where there is such a folder.
        json: Print JSON, not a table.
    """
    on_cuda = device.startswith("cuda")
    what = what or (("device",) if on_cuda else _DEFAULT)
    if images is None:
        images = _IMAGES_OF_DEVICE if on_cuda and "device" in what else 1
    _check(what, device, (scales, images, repeats, threads, rows))
    torch.set_num_threads(threads)
    given = Setting("", device, scales, images, repeats, threads, batch_size, source, rows)
    given = replace(given, labels=labels, class_groups=class_groups, truth=truth)
    setting = {"scales": scales, "images": images, "threads": threads, "batch_size": batch_size}
    about = {"machine": machine(device), "setting": setting}
    found: list[Row] = []
    with redirect_stdout(sys.stderr):  # libraries print, and JSON may go there
        for name in what:
            for one in _backbones(name, backbone):
                found += _measured(name, replace(given, backbone=one), about, found, out)
    result = about | {"rows": found}
    if json:
        print(json_.dumps(result, indent=1))
    else:
        from jobs.benchmarks.table import show

        show(found)
    if out:
        _write(out, result)
    return int(any("error" in row for row in found))


def _backbones(name: str, given: tuple[str, ...] | None) -> tuple[str, ...]:
    if name in _OF_ONE:
        return (given or _DEFAULT_BACKBONES)[:1]
    return given or (_OF_DEVICE if name == "device" else _DEFAULT_BACKBONES)


def _measured(
    name: str, setting: Setting, about: dict[str, Any], before: list[Row], out: Path | None
) -> list[Row]:
    """The rows of one benchmark and backbone, each written as it comes: a run may be cut short."""
    found: list[Row] = []
    own = None if out or name != "device" else _own_file(setting, about["machine"]["device"])
    for row in BENCHMARKS[name](setting):
        found.append(row)
        if own:
            _write(own, about | {"rows": found})
        if out:
            _write(out, about | {"rows": before + found})
    print(f"measured {name} {setting.backbone}", file=sys.stderr)
    return found


def _own_file(setting: Setting, device: str) -> Path | None:
    if not (setting.device.startswith("cuda") and _RESULTS.is_dir()):
        return None
    backbone = setting.backbone.removeprefix("torchvision/")
    return _RESULTS / f"device-{_slug(backbone)}-{_slug(device)}.json"


def _slug(text: str) -> str:
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")


def _write(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json_.dumps(result, indent=1) + "\n")


def _check(what: tuple[str, ...], device: str, counts: tuple[int, ...]) -> None:
    for name in what:
        if name not in BENCHMARKS:
            raise SessError(unknown("benchmark", name, BENCHMARKS))
    if min(counts) < 1:
        raise SessError("images, repeats, scales, threads and rows must be at least 1")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SessError("device is cuda but torch sees none; use --device cpu")

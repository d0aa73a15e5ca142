"""Fine-tune a classifier of ImageNet on a dataset's image-level labels, many for each image.

It makes the classifiers that the pointing game explains, in the way of Zhang et al. ("Top-down
Neural Attention by Excitation Backprop", ECCV 2016): a new last layer, a sigmoid and a binary
cross-entropy for each class, random crops and mirror images, the body at a lower rate. Labels of
which VOC marks every object difficult count neither for nor against.

    python examples/finetune/train.py "voc:VOCdevkit?year=2007&split=trainval" \
        --held-out "voc:VOCdevkit?year=2007&split=test" --out vgg16_voc.pt
    sess run "voc:VOCdevkit?year=2007&split=test" --backbone torchvision/vgg16 \
        --weights vgg16_voc.pt --out maps
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import cyclopts
import numpy as np
import torch
from labelled_images import NEITHER, Images, read_samples, transform
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, default_collate
from torchmetrics.functional.classification import binary_average_precision

from pipeline.stages.weights import read_weights
from sess_kernels.backbones import load_classifier
from sess_kernels.errors import SessError

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train.

    Attributes:
        steps: Steps; the rates fall to a tenth after two thirds of them.
        batch_size: Images of a step.
        lr: Rate of the new layer.
        body_lr: Rate of everything before it; 0 leaves it as it is.
        workers: Processes that read images; 0 reads them in this one.
        device: Where to train; a GPU if there is one.
        seed: Of the new layer, the order and the crops.
    """

    steps: int = 2000
    batch_size: int = 32
    lr: float = 1e-3
    body_lr: float = 1e-4
    workers: int = 2
    device: str = field(default_factory=lambda: "cuda" if torch.cuda.is_available() else "cpu")
    seed: int = 0


def with_new_head(model: nn.Module, n_classes: int) -> nn.Linear:
    """Put a fresh linear layer in the place of the last one.

    Raises:
        SessError: If there is none.
    """
    layers = [(name, one) for name, one in model.named_modules() if isinstance(one, nn.Linear)]
    if not layers:
        raise SessError(f"{type(model).__name__} has no linear layer to replace; use another")
    name, old = layers[-1]
    head = nn.Linear(old.in_features, n_classes)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    model.set_submodule(name, head)
    return head


def train(model: nn.Module, head: nn.Linear, images: Images, settings: Settings) -> list[float]:
    """Losses of the steps: binary cross-entropy, summed over classes, mean over images."""
    optimizer, rates = _optimizer(model, head, settings)
    model.train()
    for module in model.modules():  # few images a step: the statistics stay those of ImageNet
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    losses: list[float] = []
    for inputs, targets in _endless(images, settings):
        logits = model(inputs)
        each = binary_cross_entropy_with_logits(logits, targets.clamp_min(0), reduction="none")
        loss = each[targets != NEITHER].sum() / len(targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        rates.step()
        losses.append(loss.item())
        if len(losses) % 10 == 0:
            print(f"step {len(losses)}: loss {np.mean(losses[-10:]):.3f}", flush=True)
        if len(losses) == settings.steps:
            break
    return losses


def _optimizer(
    model: nn.Module, head: nn.Linear, settings: Settings
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    of_head = set(head.parameters())
    body = [one for one in model.parameters() if one not in of_head]
    for parameter in body:
        parameter.requires_grad_(settings.body_lr > 0)
    groups = [{"params": [*of_head], "lr": settings.lr}, {"params": body, "lr": settings.body_lr}]
    optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)
    fall = [2 * settings.steps // 3]
    return optimizer, torch.optim.lr_scheduler.MultiStepLR(optimizer, fall)


def _endless(images: Images, settings: Settings) -> Iterator[Batch]:
    """Batches in random order, again and again."""
    order = torch.Generator().manual_seed(settings.seed)
    while True:
        n_batches = 0
        for batch in _batches(images, settings, order):
            n_batches += 1
            yield batch
        if not n_batches:
            raise SessError("no image can be read; the lines above say why")


def _batches(
    images: Images, settings: Settings, order: torch.Generator | None = None
) -> Iterator[Batch]:
    loader = DataLoader(
        images,
        settings.batch_size,
        shuffle=order is not None,
        generator=order,
        num_workers=settings.workers,
        collate_fn=_collate,
    )
    for batch in loader:
        if batch is not None:
            inputs, targets = batch
            yield inputs.to(settings.device), targets.to(settings.device)


def _collate(found: list[Batch | None]) -> Batch | None:
    readable = [one for one in found if one is not None]
    return tuple(default_collate(readable)) if readable else None


@torch.no_grad()
def judge(model: nn.Module, images: Images, settings: Settings) -> dict[str, float]:
    """Average precision of each class that an image has."""
    model.eval()
    scores, targets = [], []
    for inputs, wanted in _batches(images, settings):
        scores.append(model(inputs).sigmoid().cpu())
        targets.append(wanted.cpu())
    if not scores:
        raise SessError("no held-out image can be read; the lines above say why")
    score, true = torch.cat(scores), torch.cat(targets)
    found = {}
    for place, name in enumerate(images.classes):
        judged = true[:, place] != NEITHER
        if (true[:, place] == 1).any():
            known = true[judged, place].long()
            found[name] = float(binary_average_precision(score[judged, place], known))
    if not found:
        raise SessError("no held-out image has a label that counts; give others with --held-out")
    return found


def tell_losses(losses: list[float], images: Images) -> None:
    """Print the mean loss of the first steps and of the last."""
    part = max(1, min(10, len(losses) // 2))
    first, last = np.mean(losses[:part]), np.mean(losses[-part:])
    print(f"loss {first:.3f} -> {last:.3f} in {len(losses)} steps on {len(images)} images")


def tell_precisions(found: dict[str, float], images: Images) -> None:
    """Print the average precision of each class, and their mean."""
    for name, precision in found.items():
        print(f"  {name} {100 * precision:.1f}")
    mean = 100 * np.mean([*found.values()])
    print(f"mAP {mean:.1f} on {len(images)} other images, {len(found)} classes")


def main(
    source: str,
    *,
    out: Path,
    backbone: str = "torchvision/vgg16",
    init: str | None = None,
    held_out: str | None = None,
    settings: Annotated[Settings, cyclopts.Parameter(name="*")] | None = None,
) -> None:
    """Fine-tune a classifier, judge it on images it has not seen, and write its weights.

    Args:
        source: Images and labels, as of `sess run`.
        out: File to write, for `sess run --weights`.
        backbone: As of `sess run`.
        init: Weights to begin with; the published ones if not given.
        held_out: Source of the images to judge by; every fifth image if not given.
        settings: How to train.
    """
    settings = settings or Settings()
    torch.manual_seed(settings.seed)
    given = read_weights(init).state_dict if init else None
    found = load_classifier(backbone, state_dict=given)
    samples, names = read_samples(source)
    judged = read_samples(held_out)[0] if held_out else samples[::5]
    seen = samples if held_out else [one for place, one in enumerate(samples) if place % 5]
    classes = {name: place for place, name in enumerate(names)}
    images = Images(seen, classes, transform(found.preprocessing, random=True))
    others = Images(judged, classes, transform(found.preprocessing, random=False))
    out.parent.mkdir(parents=True, exist_ok=True)
    head = with_new_head(found.model, len(names))
    model = found.model.to(settings.device)
    tell_losses(train(model, head, images, settings), images)
    weights = {"state_dict": model.state_dict(), "class_names": names, "scores": "sigmoid"}
    torch.save(weights, out)
    tell_precisions(judge(model, others, settings), others)


if __name__ == "__main__":
    try:
        cyclopts.run(main)
    except SessError as error:
        raise SystemExit(str(error)) from None

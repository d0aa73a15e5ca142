"""Train a small segmenter on pseudo-masks and judge it by true masks it has not seen.

The pseudo-masks are those of ``sess export OUT --to masks``. The segmenter is EfficientNet-Lite0
with a convolution on its last features; a hundred photographs take minutes on a CPU.

    python examples/wsss/train.py --photographs JPEGImages --masks masks/SegmentationClass \
        --truth SegmentationClassAug --classes masks/classes.json
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cyclopts
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from torch.utils.data import DataLoader, Dataset

from sess_kernels import load_backbone
from sess_kernels.metrics.segmentation import confusion, mean_iou

IGNORE = 255


@dataclass(frozen=True)
class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """Photographs and masks of the same names, both as squares of ``size`` pixels."""

    photographs: Path
    masks: Path
    names: Sequence[str]
    size: int

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        photograph = read(self.photographs, self.names[index]).convert("RGB")
        mask = read(self.masks, self.names[index])
        side = (self.size, self.size)
        pixels = np.asarray(photograph.resize(side, Image.Resampling.BILINEAR))
        classes = np.asarray(mask.resize(side, Image.Resampling.NEAREST), np.int64)
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1), torch.from_numpy(classes)


class Segmenter(nn.Module):
    """Pixels (N, 3, h, w), 0 to 255, to logits (N, classes, h, w)."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        backbone = load_backbone("lite0")
        self.normalize = backbone.normalize
        self.body = backbone.body.requires_grad_(True)
        self.head = nn.Conv2d(backbone.feature_shape[0], n_classes, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self.head(self.body(self.normalize(pixels)))
        return interpolate(logits, pixels.shape[-2:], mode="bilinear")


def read(folder: Path, name: str) -> Image.Image:
    """The image of a name, whatever its ending."""
    found = sorted(folder.glob(f"{name}.*"))
    if not found:
        raise SystemExit(f"{folder} has no image {name}.*; is it the right folder?")
    return Image.open(found[0])


def train(model: Segmenter, pairs: Pairs, steps: int, batch_size: int) -> list[float]:
    """Losses of the steps."""
    groups = [
        {"params": model.body.parameters(), "lr": 1e-5},
        {"params": model.head.parameters(), "lr": 1e-3},
    ]
    optimizer = torch.optim.AdamW(groups)
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(pairs, batch_size, shuffle=True, generator=generator)
    losses: list[float] = []
    while len(losses) < steps:
        for pixels, classes in loader:
            loss = cross_entropy(model(pixels), classes, ignore_index=IGNORE)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
            if len(losses) % 10 == 0:
                print(f"step {len(losses)}: loss {np.mean(losses[-10:]):.3f}", flush=True)
            if len(losses) == steps:
                break
    return losses


@torch.no_grad()
def judge(model: Segmenter, pairs: Pairs, truth: Path, n_classes: int) -> float:
    """Mean IoU of the model on true masks at their own size."""
    counted = torch.zeros(n_classes, n_classes, dtype=torch.int64)
    for index, name in enumerate(pairs.names):
        true = torch.from_numpy(np.asarray(read(truth, name), np.int64))
        logits = interpolate(model(pairs[index][0][None]), true.shape, mode="bilinear")
        counted += confusion(logits.argmax(1)[0], true, n_classes)
    return float(mean_iou(counted))


def main(
    *,
    photographs: Path,
    masks: Path,
    truth: Path,
    classes: Path,
    steps: int = 100,
    batch_size: int = 4,
    size: int = 320,
) -> None:
    """Train on four fifths of the photographs, judge on the fifth that has true masks.

    Args:
        photographs: Folder of photographs.
        masks: Folder of pseudo-masks of the same names.
        truth: Folder of true masks.
        classes: `classes.json` of the export.
        steps: Steps of training.
        batch_size: Photographs of a step.
        size: Side in pixels that photographs are squeezed to.
    """
    torch.manual_seed(0)
    n_classes = 1 + len(json.loads(classes.read_text())["classes"])
    names = sorted(path.stem for path in masks.iterdir())
    held_out = [name for name in names[::5] if list(truth.glob(f"{name}.*"))]
    pairs = Pairs(photographs, masks, [name for name in names if name not in held_out], size)
    model = Segmenter(n_classes).eval()
    losses = train(model, pairs, steps, batch_size)
    first, last = np.mean(losses[:10]), np.mean(losses[-10:])
    print(f"loss {first:.3f} -> {last:.3f} in {steps} steps on {len(pairs)} pseudo-masks")
    of_truth = Pairs(photographs, truth, held_out, size)
    found = judge(model, of_truth, truth, n_classes)
    print(f"mIoU {100 * found:.1f} on the true masks of {len(held_out)} other photographs")


if __name__ == "__main__":
    cyclopts.run(main)

"""Train a detector of torchvision on pseudo-boxes and judge it by true boxes it has not seen.

The pseudo-boxes are those of ``sess export OUT --to voc``. The detector is a Faster R-CNN on
EfficientNet-Lite0 up to stride 16; a hundred photographs take minutes on a CPU.

    python examples/wsod/train.py --photographs JPEGImages --boxes boxes/Annotations \
        --truth Annotations
"""

from __future__ import annotations

import random
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.datasets import VOCDetection
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign
from torchvision.transforms.functional import pil_to_tensor

from sess_kernels import load_backbone

Target = dict[str, Tensor]
_STRIDE_16 = "blocks.4"


class Body(nn.Module):
    """EfficientNet-Lite0 up to stride 16, as a backbone of torchvision's detectors."""

    def __init__(self) -> None:
        super().__init__()
        backbone = load_backbone("lite0", target_layer=_STRIDE_16)
        self.mean, self.std = backbone.preprocessing.mean, backbone.preprocessing.std
        self.body = backbone.body.requires_grad_(True)
        self.out_channels = backbone.feature_shape[0]

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, h, w) to features at a sixteenth of their size."""
        found: Tensor = self.body(images)
        return found


def detector(n_classes: int, size: int) -> FasterRCNN:
    """A Faster R-CNN for classes 1 to ``n_classes``; 0 is the background."""
    body = Body()
    return FasterRCNN(
        body,
        n_classes + 1,
        min_size=size,
        max_size=2 * size,
        image_mean=body.mean,
        image_std=body.std,
        rpn_anchor_generator=AnchorGenerator(((32, 64, 128, 256),), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
        rpn_pre_nms_top_n_train=500,
        rpn_post_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=300,
        rpn_post_nms_top_n_test=100,
        box_batch_size_per_image=64,
    )


def objects(path: Path) -> list[tuple[str, list[float], bool]]:
    """Class, box (0-based, half-open ``xyxy``) and whether it is difficult, of a VOC annotation."""
    root = ElementTree.parse(path).getroot()
    found = VOCDetection.parse_voc_xml(root)["annotation"].get("object", [])
    boxes = []
    for one in found:
        limits = [float(one["bndbox"][name]) for name in ("xmin", "ymin", "xmax", "ymax")]
        box = [limits[0] - 1, limits[1] - 1, limits[2], limits[3]]
        boxes.append((one["name"], box, one.get("difficult") == "1"))
    return boxes


def sample(
    photographs: Path, boxes: Path, name: str, classes: Sequence[str]
) -> tuple[Tensor, Target]:
    """A photograph in [0, 1] and the boxes of its annotation; half of them mirrored."""
    pixels = pil_to_tensor(Image.open(photographs / f"{name}.jpg").convert("RGB")) / 255
    found = objects(boxes / f"{name}.xml")
    limits = torch.tensor([box for _, box, _ in found]).reshape(-1, 4)
    labels = torch.tensor([1 + classes.index(label) for label, _, _ in found], dtype=torch.int64)
    if random.random() < 0.5:
        pixels = pixels.flip(2)
        limits[:, [0, 2]] = pixels.shape[2] - limits[:, [2, 0]]
    return pixels, {"boxes": limits, "labels": labels}


def train(
    model: FasterRCNN, read: Any, names: Sequence[str], steps: int, batch_size: int
) -> list[float]:
    """Losses of the steps."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)
    model.train()
    for module in model.modules():  # batches are too small for statistics of their own
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    losses = []
    for step in range(1, steps + 1):
        images, targets = zip(
            *map(read, random.sample(names, min(batch_size, len(names)))), strict=True
        )
        loss = sum(model(list(images), list(targets)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 10 == 0:
            print(f"step {step}: loss {np.mean(losses[-10:]):.3f}", flush=True)
    return losses


def average_precision(found: dict[str, Target], truth: Path, classes: Sequence[str]) -> float:
    """AP at an IoU of 0.5 by pycocotools, mean over the classes that the truth has."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images, annotations, results = [], [], []
    for number, (name, boxes) in enumerate(found.items(), 1):
        images.append({"id": number})
        for label, (x1, y1, x2, y2), difficult in objects(truth / f"{name}.xml"):
            area = (x2 - x1) * (y2 - y1)
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": area, "iscrowd": int(difficult)}
            ids = {"id": len(annotations) + 1, "image_id": number}
            annotations.append(box | ids | {"category_id": 1 + classes.index(label)})
        for (x1, y1, x2, y2), label, score in zip(
            *(boxes[key].tolist() for key in ("boxes", "labels", "scores")), strict=True
        ):
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
            results.append(box | {"image_id": number, "category_id": label})
    coco = COCO()
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, 1)]
    coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
    coco.createIndex()
    if not results:
        return 0.0
    judged = COCOeval(coco, coco.loadRes(results), "bbox")
    judged.evaluate()
    judged.accumulate()
    precision = judged.eval["precision"][0, :, :, 0, 2]  # IoU 0.5, all areas, 100 boxes an image
    return float(precision[precision > -1].mean())


def main(
    *,
    photographs: Path,
    boxes: Path,
    truth: Path,
    steps: int = 150,
    batch_size: int = 2,
    size: int = 256,
) -> None:
    """Train on four fifths of the photographs, judge on the fifth.

    Args:
        photographs: Folder of photographs, NAME.jpg.
        boxes: Folder of pseudo-boxes, NAME.xml.
        truth: Folder of true boxes, NAME.xml.
        steps: Steps of training.
        batch_size: Photographs of a step.
        size: Shorter side of the photographs in pixels.
    """
    torch.manual_seed(0)
    random.seed(0)
    names = sorted(path.stem for path in boxes.glob("*.xml"))
    labels = {
        name
        for folder in (boxes, truth)
        for one in names
        for name, *_ in objects(folder / f"{one}.xml")
    }
    classes = sorted(labels)
    held_out = names[::5]
    with_boxes = [name for name in names if name not in held_out and objects(boxes / f"{name}.xml")]
    model = detector(len(classes), size)
    losses = train(
        model, lambda name: sample(photographs, boxes, name, classes), with_boxes, steps, batch_size
    )
    first, last = np.mean(losses[:10]), np.mean(losses[-10:])
    print(f"loss {first:.3f} -> {last:.3f} in {steps} steps on {len(with_boxes)} photographs")
    model.eval()
    with torch.no_grad():
        found = {
            name: model(
                [pil_to_tensor(Image.open(photographs / f"{name}.jpg").convert("RGB")) / 255]
            )[0]
            for name in held_out
        }
    found_ap = average_precision(found, truth, classes)
    print(f"AP50 {100 * found_ap:.1f} on the true boxes of {len(held_out)} other photographs")


if __name__ == "__main__":
    cyclopts.run(main)

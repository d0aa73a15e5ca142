"""A page to look at: photograph, base saliency and SESS side by side."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.config import RunConfig
from pipeline.figures import draw_patches, overlay
from pipeline.images import read_rgb
from pipeline.read import read_maps, read_rows
from pipeline.stages import BackboneSpec
from sess_kernels import Backbone, PatchSaliency
from sess_kernels.errors import SessError
from sess_kernels.fuse import rescale
from sess_kernels.patches import resize
from sess_kernels.saliency import METHODS, BaseMethod, Query, base_method

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]
_MAX_WIDTH = 640  # pixels of a figure
_MAX_PATCHES_WIDTH = 1400


def base_saliency(image: Pixels, class_index: int, backbone: Backbone, method: BaseMethod) -> Map:
    """Plain base method on the whole image squeezed to the backbone's input, (H, W) in [0, 1]."""
    size = backbone.input_size
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
    squeezed = resize(backbone.normalize(pixels), size, size, backbone.preprocessing.interpolation)
    with torch.no_grad():
        features, _ = backbone(squeezed)
        query = Query(squeezed, features, torch.tensor([0]), torch.tensor([class_index]), 1)
        small = method(backbone, query)
    whole = torch.nn.functional.interpolate(
        small[None], image.shape[:2], mode="bilinear", align_corners=False
    )
    values: Map = rescale(whole[0, 0]).numpy()
    return values


def write_report(out: str | Path, folder: str | Path) -> Path:
    """Write ``folder/index.html`` for a run, one self-contained page.

    Args:
        out: Folder of a finished run.
        folder: Where the page goes.

    Returns:
        The path of the page.

    Raises:
        SessError: If OUT is no run or the ``demo`` extra is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader
    except ImportError as error:
        raise SessError(
            'the report needs extra packages: pip install "sess-pipeline[demo]"'
        ) from error
    record = json.loads((Path(out) / "run.json").read_text())
    config = RunConfig(**record["config"])
    environment = Environment(loader=PackageLoader("pipeline"), autoescape=True)
    page = Path(folder) / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(
        environment.get_template("report.html").render(
            record=record,
            method=METHODS[config.method].title,
            rows=_figures(Path(out), config, record["resolved"].get("class_groups")),
            failed=[row for row in read_rows(out) if row["error"]],
        )
    )
    return page


def _figures(
    out: Path, config: RunConfig, groups: dict[str, list[int]] | None
) -> list[dict[str, Any]]:
    spec = BackboneSpec(config.backbone, config.weights, config.target_layer, groups)
    backbone = spec.load()
    method = base_method(config.method, config.method_options)
    uris = {row["image_id"]: row["uri"] for row in read_rows(out)}
    figures = []
    for found in read_maps(out):
        image = read_rgb(uris[found.image_id])
        base = base_saliency(image, found.class_index, backbone, method)
        pictures = (image, overlay(image, base), overlay(image, found.map))
        figures.append(
            {
                "image_id": found.image_id,
                "class_name": found.class_name,
                "class_index": found.class_index,
                "score": found.score,
                "n_patches": len(found.patches),
                "patches": _patches(image, found.patches),
                "pictures": [_data_uri(Image.fromarray(picture)) for picture in pictures],
            }
        )
    return sorted(figures, key=lambda figure: (figure["image_id"], -figure["score"]))


def _patches(image: Pixels, patches: Sequence[PatchSaliency]) -> str | None:
    return _data_uri(draw_patches(image, patches), _MAX_PATCHES_WIDTH) if patches else None


def _data_uri(image: Image.Image, max_width: int = _MAX_WIDTH) -> str:
    image.thumbnail((max_width, image.height))
    file = io.BytesIO()
    image.save(file, "jpeg", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()

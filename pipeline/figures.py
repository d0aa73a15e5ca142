"""Pictures of maps and of the patches that they were fused from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sess_kernels import PatchSaliency
from sess_kernels.errors import SessError
from sess_kernels.patches import resize

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]
_OPACITY = 0.55
_RED = (220, 20, 40)
_MARGIN = 6  # pixels around each cell
_CAPTION = 18  # pixels of height


def overlay(image: Pixels, map_: Map) -> Pixels:
    """The image under its map in colour, ``uint8 (H, W, 3)``."""
    try:
        from matplotlib import colormaps
    except ImportError as error:
        raise SessError('pictures need matplotlib: pip install "sess-pipeline[demo]"') from error
    heat = colormaps["turbo"](map_)[..., :3] * 255
    return (image * (1 - _OPACITY) + heat * _OPACITY).astype(np.uint8)


def draw_patches(
    image: Pixels,
    patches: Sequence[PatchSaliency],
    *,
    columns: int = 6,
    limit: int = 24,
    width: int = 220,
) -> Image.Image:
    """Draw the maps of patches, each in its place in the image, as figure 11 of the paper does.

    Args:
        image: ``uint8 (H, W, 3)``.
        patches: Kept patches of one map, as ``ClassSaliency.patches`` or ``MapRecord.patches``.
        columns: Cells of a row.
        limit: Draw only the first ones, which have the best scores.
        width: Width of a cell in pixels.

    Example:
        >>> from skimage.data import chelsea
        >>> from sess_kernels import SESS, SESSConfig
        >>> [[cat]] = SESS(config=SESSConfig(scales=2))([chelsea()], [[285]], keep_patches=True)
        >>> draw_patches(chelsea(), cat.patches, columns=3, width=100).size
        (318, 182)
    """
    shown = patches[:limit]
    height = max(1, round(width * image.shape[0] / image.shape[1]))
    small = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    columns = max(1, min(columns, len(shown)))
    step = width + _MARGIN, height + _CAPTION + _MARGIN
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * step[0], rows * step[1]), "white")
    draw = ImageDraw.Draw(sheet)
    for number, patch in enumerate(shown):
        left = number % columns * step[0] + _MARGIN // 2
        top = number // columns * step[1] + _MARGIN // 2
        sheet.paste(_cell(small, patch), (left, top))
        words = f"scale {patch.scale}, score {patch.score:.2f}"
        draw.text((left, top + height + 1), words, "black", ImageFont.load_default(12))
    return sheet


def _cell(small: Image.Image, patch: PatchSaliency) -> Image.Image:
    """The whole image with the map of one window in its place and a frame around it."""
    pixels = np.asarray(small).copy()
    height, width = patch.scaled_size
    across, down = small.width / width, small.height / height
    left, top, right, bottom = (
        round(side * by)
        for side, by in zip(patch.window, (across, down, across, down), strict=True)
    )
    size = max(1, bottom - top), max(1, right - left)
    map_ = resize(patch.map[None, None].float().cpu(), *size)[0, 0].clamp(0, 1).numpy()
    inside = pixels[top : top + size[0], left : left + size[1]]
    inside[:] = overlay(inside, map_[: inside.shape[0], : inside.shape[1]])
    cell = Image.fromarray(pixels)
    edges = (left, top, max(left, right - 1), max(top, bottom - 1))
    ImageDraw.Draw(cell).rectangle(edges, outline=_RED, width=2)
    return cell

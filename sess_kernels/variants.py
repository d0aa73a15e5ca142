"""The map that other settings would have given, from the patches of a map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sess_kernels.config import SESSConfig
from sess_kernels.fuse import channel_weights, fuse, rescale
from sess_kernels.prefilter import pre_filter
from sess_kernels.results import PatchSaliency
from sess_kernels.smooth import smooth
from sess_kernels.windows import Grid, Window, count


def fuse_patches(
    patches: Sequence[PatchSaliency], size: tuple[int, int], config: SESSConfig
) -> Tensor:
    """Fuse the patches of a map anew: fewer scales, or another ratio, theta, weights or fusion.

    One explanation of all patches gives the maps of every such setting at the cost of a fusion.

    Args:
        patches: Every patch of the image (``keep_patches``, ``pre_filter_ratio`` 0) at as many
            scales as ``config`` has or more, in any order.
        size: Height and width of the image in pixels.
        config: The settings wanted, those of scales and windows as the patches have them.

    Returns:
        The map (H, W) that SESS gives with ``config``, bit for bit.

    Raises:
        ValueError: If patches of a scale are missing, or lie elsewhere than ``config`` has them.

    Example:
        >>> from skimage.data import chelsea
        >>> from sess_kernels import SESS
        >>> explain = SESS("lite0", config=SESSConfig(scales=3))
        >>> [[cat]] = explain([chelsea()], [[285]], keep_patches=True)
        >>> few = fuse_patches(cat.patches, (300, 451), SESSConfig(scales=2, pre_filter_ratio=0.5))
        >>> tuple(few.shape)
        (300, 451)
    """
    if not patches:
        raise ValueError("Expected the patches of a map but got none; keep them with keep_patches")
    side = patches[0].window[2] - patches[0].window[0]
    # windows of another size: the backbone's input size, if the settings leave it open
    config = config.for_input(config.window_size or side)
    taken = sorted((one for one in patches if one.scale <= config.scales), key=_place)
    wanted = count(*size, config, side)
    if config.scales == 0 or config.window_size != side or len(taken) != wanted:
        raise ValueError(
            f"Expected all {wanted} patches of {config.scales} scales with windows of "
            f"{config.window_size} pixels but got {len(taken)} of {side} pixels; keep them with "
            "keep_patches, the same windows and pre_filter_ratio 0"
        )
    scores = torch.tensor([one.score for one in taken])
    kept = pre_filter(scores, config)
    chosen = [taken[i] for i in kept.tolist()]
    maps = torch.stack([one.map for one in chosen])
    windows = [_window(one) for one in chosen]
    map_ = fuse(maps, channel_weights(scores[kept], config), windows, size, config)
    map_ = rescale(map_) if config.normalize else map_
    return smooth(map_) if config.smooth else map_


def _place(patch: PatchSaliency) -> tuple[int, int, int]:
    """The order in which SESS goes through the patches: by scale, row by row."""
    return patch.scale, patch.window[1], patch.window[0]


def _window(patch: PatchSaliency) -> Window:
    left, top, _, _ = patch.window
    return Window(Grid(*patch.scaled_size, (top,), (left,)), top, left)

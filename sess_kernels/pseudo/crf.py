"""A fully connected CRF over the pixels of an image (Kraehenbuehl and Koltun, NeurIPS 2011).

Pixels that are near, and those that are near and alike in colour, are pulled to one label. The
inference is that of the package pydensecrf2, on the CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sess_kernels.errors import SessError

# distances in pixels and in colour, and how much labels that differ there cost
_NEAR = {"sxy": 1.5, "compat": 3}
_ALIKE = {"sxy": 25, "srgb": 5, "compat": 10}
_LEAST = 1e-5


def dense_crf(image: Tensor, maps: Tensor, background: float, iterations: int = 5) -> Tensor:
    """Refine the maps of an image by the mean field of a fully connected CRF.

    A class is as likely against background as its value is against ``background``. Of the chances
    q that are inferred the value is ``b q / ((1 - b) q_background + b q_best)``: the best class has
    the largest one, which exceeds ``b`` where the class is likelier than background.

    Args:
        image: Image (3, H, W), 0 to 255.
        maps: Maps (K, H, W) in [0, 1], at least one.
        background: The value b that is neither class nor background, above 0 and below 1.
        iterations: Of the mean field.

    Returns:
        Refined maps float32 (K, H, W) in [0, 1], on the device of ``maps``.

    Raises:
        SessError: If pydensecrf2 is missing.
    """
    crf, (height, width) = _package(), maps.shape[1:]
    values = maps.detach().float().cpu()
    odds = torch.cat([torch.full((1, height, width), background), values])
    chances = (odds / odds.sum(0)).clamp(min=_LEAST)
    pixels = image.round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().cpu().numpy()
    field = crf.DenseCRF2D(width, height, len(odds))
    field.setUnaryEnergy(np.ascontiguousarray(-chances.log().flatten(1).numpy()))
    field.addPairwiseGaussian(**_NEAR)
    field.addPairwiseBilateral(rgbim=pixels, **_ALIKE)
    found = torch.from_numpy(np.array(field.inference(iterations), np.float32)).view_as(odds)
    best = found[1:].amax(0)
    values = found[1:] * background / (found[0] * (1 - background) + best * background)
    return values.to(maps.device)


def _package() -> Any:
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        raise SessError(
            'refine crf needs a package more: pip install "sess-pipeline[crf]"'
        ) from error
    return densecrf

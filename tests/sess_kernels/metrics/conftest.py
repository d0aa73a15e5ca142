"""Maps of photographs, with boxes drawn by hand."""

import pytest
import torch
from skimage import data

from sess_kernels import SESSConfig, sess

_PHOTOGRAPHS = {  # class, and the object's box
    "chelsea": (285, [[100.0, 20.0, 320.0, 290.0]]),
    "coffee": (967, [[170.0, 50.0, 430.0, 320.0], [100.0, 180.0, 520.0, 390.0]]),
}


@pytest.fixture(scope="session")
def photographs(lite0):
    """Of each photograph the map, the class and the boxes."""
    found = []
    for name, (class_index, boxes) in _PHOTOGRAPHS.items():
        saliency = sess(getattr(data, name)(), class_index, lite0, config=SESSConfig(scales=1))
        found.append((saliency, class_index, torch.tensor(boxes)))
    return found

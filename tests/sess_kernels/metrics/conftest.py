"""Maps of photographs, with boxes drawn by hand, and a classifier of 32 pixels."""

import pytest
import torch
from skimage import data
from torch import nn

from sess_kernels import SESSConfig, sess
from sess_kernels.backbones import Backbone, Preprocessing

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


@pytest.fixture(scope="session")
def tiny():
    """Four classes of images of 32 pixels."""
    torch.manual_seed(3)
    body = [nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    small = Preprocessing(32, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    return Backbone(nn.Sequential(*body, nn.Linear(8, 4)), name="tiny", preprocessing=small)

"""Fixture: a classifier that costs next to nothing."""

import sys

import pytest

SMALL_NET = """
import torch
from torch import nn


def make():
    torch.manual_seed(7)
    body = [nn.Conv2d(3, 8, 9, stride=8), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
"""


@pytest.fixture
def tiny_backbone(tmp_path, monkeypatch):
    """Its name; it has five classes."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "small_net.py").write_text(SMALL_NET)
    monkeypatch.syspath_prepend(str(folder))
    yield "small_net:make"
    sys.modules.pop("small_net", None)

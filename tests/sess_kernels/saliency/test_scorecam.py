import pytest
import pytorch_grad_cam
import torch
import torch.nn.functional as F
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from sess_kernels import load_backbone
from sess_kernels.fuse import rescale
from sess_kernels.saliency import Query
from sess_kernels.saliency.scorecam import ScoreCAM


@pytest.fixture(scope="module")
def early():
    """lite0 with an early target layer of 16 channels."""
    return load_backbone("lite0", target_layer="blocks.0.0")


def _query(backbone, images, pairs, batch_size=4):
    patch, classes = torch.tensor(pairs).T
    return Query(images, backbone.body(images), patch, classes, batch_size)


class _HalfPixelCentres(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = tuple(size)

    def forward(self, maps):
        return F.interpolate(maps, self.size, mode="bilinear", align_corners=False)


@pytest.mark.slow
@pytest.mark.parametrize("align_corners", [False, True])
def test_parity_with_pytorch_grad_cam(
    early, plain_lite0, photos, monkeypatch, align_corners, agree
):
    if not align_corners:  # the only thing that the reference does in another way
        monkeypatch.setattr(torch.nn, "UpsamplingBilinear2d", _HalfPixelCentres)
    pairs = [(0, 281), (1, 967)]
    with torch.no_grad():
        found = ScoreCAM(align_corners=align_corners)(early, _query(early, photos, pairs))
    with pytorch_grad_cam.ScoreCAM(plain_lite0, [plain_lite0.blocks[0][0]]) as reference:
        reference.batch_size = 4
        for map_, (patch, index) in zip(found, pairs, strict=True):
            image, targets = photos[patch : patch + 1], [ClassifierOutputTarget(index)]
            activations = plain_lite0.bn1(plain_lite0.conv_stem(image))
            activations = plain_lite0.blocks[0][0](activations)
            weighted = reference.get_cam_image(
                image, None, targets, activations.detach().numpy(), None
            )
            expected = torch.tensor(weighted)[0].relu()
            agree(rescale(map_), rescale(expected))


def test_a_map_does_not_depend_on_its_neighbours(early, photos):
    method, pairs = ScoreCAM(max_channels=3), [(0, 281), (1, 967), (0, 3)]
    with torch.no_grad():
        together = method(early, _query(early, photos, pairs))
        alone = [method(early, _query(early, photos, [pair]))[0] for pair in pairs]
    assert together.amax((1, 2)).gt(0).all()
    for map_, other in zip(together, alone, strict=True):
        assert torch.equal(map_, other)


def test_classes_share_the_forwards(early, photos):
    seen = []
    handle = early.head.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    try:
        query = _query(early, photos, [(0, 281), (1, 967), (0, 3)])
        ScoreCAM(max_channels=6)(early, query)
    finally:
        handle.remove()
    assert seen == [4] * 3


def test_the_channels_that_vary_most_are_taken():
    spread = torch.tensor([0.0, 3.0, 1.0, 2.0, 0.0])
    features = 7 + spread[:, None, None] * torch.tensor([[-1.0, 1.0]])
    assert ScoreCAM()._channels(features).tolist() == [1, 2, 3]
    assert ScoreCAM(max_channels=2)._channels(features).tolist() == [1, 3]


def test_a_constant_channel_changes_nothing(lite0, photos):
    features = torch.zeros(1, 1280, 7, 7)
    features[:, :3] = lite0.body(photos[:1])[:, 100:103]
    query = Query(photos[:1], features, torch.tensor([0]), torch.tensor([281]), 4)
    constant = features.clone()
    constant[:, 5] = 9
    with torch.no_grad():
        found = ScoreCAM()(lite0, query)
        other = ScoreCAM()(lite0, Query(photos[:1], constant, query.patch, query.class_index, 4))
    assert found.max() > 0
    assert torch.equal(found, other)


def test_no_evidence_gives_zeros(lite0, photos):
    query = Query(photos, torch.zeros(4, 1280, 7, 7), torch.arange(4), torch.arange(4), 4)
    assert torch.equal(ScoreCAM()(lite0, query), torch.zeros(4, 7, 7))


def test_options_are_checked():
    with pytest.raises(ValueError, match="max_channels must be at least 1 but got 0"):
        ScoreCAM(max_channels=0)


def test_nothing_stays_behind(early, photos):
    with torch.no_grad():
        map_ = ScoreCAM(max_channels=2)(early, _query(early, photos, [(0, 281)]))
    assert map_.grad_fn is None
    assert all(parameter.grad is None for parameter in early.parameters())
    assert not any(module._forward_hooks for module in early.modules())

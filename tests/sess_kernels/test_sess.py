import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.models as tvm
from skimage import data
from torchvision.transforms import Resize

from sess_kernels import SESS, SESSConfig, SessError, batches, load_backbone, sess
from sess_kernels import explain as explain_
from sess_kernels.fuse import rescale
from sess_kernels.saliency.gradcam import GradCAM


def test_one_scale_of_a_square_image_is_the_base_method(lite0):
    image = data.astronaut()
    found = sess(image, 652, lite0, config=SESSConfig(scales=1))
    squeezed = Resize((224, 224))(torch.tensor(image).permute(2, 0, 1).float())
    features, _ = lite0((squeezed[None] - 127) / 128)
    small = GradCAM().maps(lite0, features, torch.tensor([652]))
    patch = F.interpolate(small[None], (224, 224), mode="bilinear")
    expected = rescale(F.interpolate(patch, image.shape[:2], mode="bilinear")[0, 0])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_paper_semantics_differ_from_the_published_ones_by_the_last_normalisation(lite0, chelsea):
    config = SESSConfig(scales=3)
    paper = sess(chelsea, 285, lite0, config=config)
    published = sess(chelsea, 285, lite0, config=SESSConfig.published(scales=3))
    assert published.max() < 1
    torch.testing.assert_close(paper, rescale(published), rtol=0, atol=1e-5)


@pytest.mark.parametrize("backbone", ["lite0", "vgg16"])
def test_same_bits_however_images_are_packed(draw, backbone):
    if backbone == "vgg16":  # its Grad-CAM takes the backward pass through the head
        torch.manual_seed(0)
        model = tvm.vgg16(weights=None)
        loaded = load_backbone("torchvision/vgg16", state_dict=model.state_dict())
    else:
        loaded = load_backbone(backbone)
    sizes = [(90, 130), (224, 224), (60, 200), (33, 20)]
    images = [draw(*size, seed) for seed, size in enumerate(sizes)]
    classes = [[1, 5], [5], [9, 1, 2], [7]]
    config = SESSConfig(scales=2 if backbone == "lite0" else 1, pre_filter_ratio=0.4)
    explain = SESS(loaded, config=config, batch_size=3)
    alone = [explain([i], [c])[0] for i, c in zip(images, classes, strict=True)]
    random = np.random.default_rng(0)
    for _ in range(2):
        order = random.permutation(len(images))
        together = explain([images[i] for i in order], [classes[i] for i in order])
        for place, i in enumerate(order):
            for one, other in zip(alone[i], together[place], strict=True):
                assert torch.equal(one.map, other.map)
                assert (one.score, one.n_kept) == (other.score, other.n_kept)


def test_small_groups_give_the_same_bits(lite0, draw, monkeypatch):
    images = [draw(80, 120, seed) for seed in range(4)]
    explain = SESS(lite0, config=SESSConfig(scales=2))
    whole = explain(images, [[3]] * 4)
    monkeypatch.setattr(batches, "_GROUP_BYTES", 1)
    monkeypatch.setattr(explain_, "_MAPS_BYTES", 1)
    single = explain(images, [[3]] * 4)
    for [one], [other] in zip(whole, single, strict=True):
        assert torch.equal(one.map, other.map)


def test_several_classes_share_the_forwards(lite0, chelsea):
    explain = SESS(lite0, config=SESSConfig(scales=3, pre_filter_ratio=0.5))
    forwards = []
    handle = lite0.body.register_forward_hook(lambda *_: forwards.append(1))
    try:
        [one] = explain([chelsea], [[285]])
        n_one = len(forwards)
        [several] = explain([chelsea], [[281, 285, 282]])
    finally:
        handle.remove()
    assert len(forwards) == 2 * n_one
    assert [found.class_index for found in several] == [281, 285, 282]
    assert torch.equal(several[1].map, one[0].map)


def test_device_batches_are_full_across_images(lite0, draw):
    explain = SESS(lite0, config=SESSConfig(scales=2), batch_size=4)
    sizes = []
    handle = lite0.body.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    try:
        explain([draw(50, 50, seed) for seed in range(4)], [[1]] * 4)  # 5 patches each
    finally:
        handle.remove()
    assert sizes == [4] * 5


def test_predicted_classes_are_the_best_of_the_first_scale(lite0, chelsea):
    [found] = SESS(lite0, config=SESSConfig(scales=2))([chelsea], [None], top_k=3)
    resized = Resize(224)(torch.tensor(chelsea).permute(2, 0, 1).float())
    windows = torch.stack([resized[:, :, :224], resized[:, :, -224:]])
    with torch.no_grad():
        mean = lite0((windows - 127) / 128)[1].softmax(1).mean(0)
    expected = mean.sort(descending=True)
    assert [one.class_index for one in found] == expected.indices[:3].tolist()
    np.testing.assert_allclose([one.score for one in found], expected.values[:3], atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (5, 100), (224, 225)])
def test_any_size_gives_a_map_in_zero_to_one(lite0, draw, size):
    for smooth in (False, True):
        config = SESSConfig(scales=2, smooth=smooth)
        map_ = sess(draw(*size), 3, lite0, config=config)
        assert tuple(map_.shape) == size
        assert torch.isfinite(map_).all()
        assert map_.min() >= 0
        assert map_.max() <= 1


def test_black_and_constant_images_give_no_nan(lite0):
    for value in (0, 255):
        image = np.full((50, 60, 3), value, np.uint8)
        map_ = sess(image, list(range(8)), lite0, config=SESSConfig(scales=1))
        assert torch.isfinite(map_).all()


def test_no_images_and_no_classes(lite0, draw):
    explain = SESS(lite0, config=SESSConfig(scales=1))
    assert explain([], []) == []
    assert explain([draw(20, 20)], [[]]) == [[]]


def test_bad_arguments_are_told(lite0, draw):
    with pytest.raises(ValueError, match="classes of 0 to 999 but got 1000"):
        sess(draw(20, 20), 1000, lite0)
    with pytest.raises(ValueError, match="Expected classes of 1 images but got 2"):
        SESS(lite0)([draw(20, 20)], [[1], [2]])
    with pytest.raises(ValueError, match=r"Expected uint8 \(H, W, 3\) but got float64"):
        sess(np.zeros((4, 4, 3)), 1, lite0)
    with pytest.raises(ValueError, match=r"Expected a tensor \(3, H, W\)"):
        sess(torch.zeros(4, 4), 1, lite0)
    with pytest.raises(SessError, match="did you mean 'gradcam'"):
        SESS(lite0, "grad-cam")


def test_a_tensor_is_as_good_as_an_array(lite0, draw):
    image = draw(60, 40)
    config = SESSConfig(scales=1)
    tensor = torch.tensor(image).permute(2, 0, 1)
    assert torch.equal(sess(image, 3, lite0, config=config), sess(tensor, 3, lite0, config=config))

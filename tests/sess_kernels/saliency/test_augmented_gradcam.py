import numpy as np
import pytest
import pytorch_grad_cam
import scipy.optimize
import torch
import torch.nn.functional as F
from scipy import ndimage, sparse

from sess_kernels.fuse import min_max
from sess_kernels.saliency import Query
from sess_kernels.saliency.augmented_gradcam import (
    AugmentedGradCAM,
    _views,
    augmentations,
    observation_matrix,
)


@pytest.fixture(autouse=True)
def _one_thread(_two_threads):
    """Thousands of steps on matrices too small to share."""
    torch.set_num_threads(1)


def _explicit(theta, size, scale):
    """D A_l with SciPy's interpolation, column by column."""
    height, width = size[0] * scale, size[1] * scale
    rows, columns = np.mgrid[:height, :width]
    x, y = (2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1
    blocks = []
    for turn in theta.numpy():
        seen_x, seen_y = (turn @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])).reshape(2, -1)
        places = ((seen_y + 1) * height - 1) / 2, ((seen_x + 1) * width - 1) / 2
        block = []
        for pixel in np.eye(height * width):
            moved = ndimage.map_coordinates(
                np.pad(pixel.reshape(height, width), 1), np.stack(places) + 1, order=1
            )
            tiles = moved.reshape(size[0], scale, size[1], scale)
            block.append(tiles.mean((1, 3)).ravel())
        blocks.append(np.stack(block, 1))
    return np.concatenate(blocks)


def _differences(height, width):
    def along(n):
        return sparse.diags([-np.ones(n - 1), np.ones(n - 1)], [0, 1], shape=(n - 1, n))

    down = sparse.kron(along(height), sparse.identity(width))
    return sparse.vstack([down, sparse.kron(sparse.identity(height), along(width))]).tocsr()


def _minimum(matrix, observed, differences, tv_weight, l2_weight):
    """The exact minimum by way of the dual problem, which is smooth: |y| <= lambda."""
    inverse = np.linalg.inv(matrix.T @ matrix + l2_weight * np.eye(matrix.shape[1]))
    seen = matrix.T @ observed

    def dual(y):
        rest = seen - differences.T @ y
        return rest @ inverse @ rest / 2, -(differences @ (inverse @ rest))

    found = scipy.optimize.minimize(
        dual,
        np.zeros(differences.shape[0]),
        jac=True,
        bounds=[(-tv_weight, tv_weight)] * differences.shape[0],
        method="L-BFGS-B",
        options={"maxiter": 50_000, "maxfun": 100_000, "ftol": 1e-16, "gtol": 1e-10},
    )
    return inverse @ (seen - differences.T @ found.x)


@pytest.mark.filterwarnings("ignore:Sparse")
def test_the_matrix_is_rotation_shift_and_mean():
    theta = augmentations(3, 20, 0.2, 1)
    found = observation_matrix(theta, (3, 2), 3).to_dense()
    np.testing.assert_allclose(found.numpy(), _explicit(theta, (3, 2), 3), rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def small():
    """Grad-CAMs (4 copies, 3x3) of two patches, and the explicit matrix for 6x6 maps."""
    coarse = torch.rand(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    return coarse, _explicit(augmentations(4, 15.0, 0.1, 0), (3, 3), 2)


@pytest.mark.parametrize(("tv_weight", "steps"), [(0.0, 2000), (0.03, 6000)])
def test_parity_with_scipy(small, tv_weight, steps, agree):
    coarse, matrix = small
    views = _views((4, 15.0, 0.1, 0), (3, 3), 2, torch.device("cpu"))
    method = AugmentedGradCAM(4, tv_weight=tv_weight, l2_weight=0.02, iterations=steps, scale=2)
    found = method._enlarge(coarse, views, 2)
    expected = []
    for observed in coarse.double().numpy():
        peak = observed.max()
        h = _minimum(matrix, observed.ravel() / peak, _differences(6, 6), tv_weight, 0.02)
        expected.append(h.reshape(6, 6) * peak)
    expected = torch.tensor(np.stack(expected), dtype=torch.float32)
    # the step of Adam shrinks to zero, but the kinks of the total variation keep it off 1e-4
    agree(min_max(found, 224), min_max(expected, 224), 3e-3 if tv_weight else 1e-4)


def test_the_default_steps_come_near_the_minimum(small):
    coarse, matrix = small
    views = _views((4, 15.0, 0.1, 0), (3, 3), 2, torch.device("cpu"))
    method = AugmentedGradCAM(4, scale=2)
    differences = _differences(6, 6)

    def objective(h, observed):
        rest, steep = matrix @ h - observed, np.abs(differences @ h).sum()
        return rest @ rest / 2 + method.tv_weight * steep + method.l2_weight / 2 * h @ h

    for map_, observed in zip(method._enlarge(coarse, views, 2), coarse.double(), strict=True):
        peak, observed = observed.max().item(), observed.numpy().ravel()
        h = map_.double().numpy().ravel() / peak
        best = _minimum(matrix, observed / peak, differences, method.tv_weight, method.l2_weight)
        lowest = objective(best, observed / peak)
        assert lowest <= objective(h, observed / peak) <= 1.005 * lowest


def test_parity_with_pytorch_grad_cam_of_the_copies(
    lite0, plain_lite0, photos, photo_classes, agree
):
    images, classes, n = photos[:2], photo_classes[:2], 3
    theta = augmentations(n, 15.0, 0.1, 0)
    query = Query(images, lite0.body(images), torch.arange(2), classes, batch_size=2)
    with torch.no_grad():
        found = AugmentedGradCAM()._gradcams(lite0, query, theta.float(), (7, 7))
    rows, columns = np.mgrid[:224, :224]
    x, y = (2 * columns + 1) / 224 - 1, (2 * rows + 1) / 224 - 1
    with pytorch_grad_cam.GradCAM(plain_lite0, [plain_lite0.bn2]) as reference:
        targets = [lambda logits, index=index: 1e4 * logits[index] for index in classes]
        for number, turn in enumerate(theta.numpy()):
            seen = (turn @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])).reshape(2, 224, 224)
            places = (seen[::-1] + 1) * 112 - 0.5 + 1
            copies = [
                [ndimage.map_coordinates(np.pad(c, 1), places, order=1) for c in image]
                for image in images.numpy()
            ]
            expected = torch.tensor(
                reference(torch.tensor(np.array(copies)).requires_grad_(), targets)
            )
            enlarged = F.interpolate(
                min_max(found[:, number], 224)[None], (224, 224), mode="bilinear"
            )[0]
            agree(enlarged, expected)


def test_copies_of_one_view_give_that_view():
    """Without rotation, shift and penalties the map has the means it was made from."""
    coarse = torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))[:, :1]
    coarse = coarse.expand(-1, 2, -1, -1).contiguous()
    options = {"max_rotation": 0.0, "max_shift": 0.0, "tv_weight": 0.0, "l2_weight": 0.0}
    views = _views((2, 0.0, 0.0, 0), (4, 4), 3, torch.device("cpu"))
    found = AugmentedGradCAM(2, iterations=1000, **options)._enlarge(coarse, views, 3)
    torch.testing.assert_close(F.avg_pool2d(found, 3), coarse[:, 0], rtol=0, atol=1e-4)


def test_a_copy_depends_on_seed_and_number_alone():
    few, many = augmentations(2, 15, 0.1, 3), augmentations(5, 15, 0.1, 3)
    assert torch.equal(few, many[:2])
    assert not torch.equal(augmentations(2, 15, 0.1, 4)[1], few[1])
    angles = torch.atan2(many[:, 1, 0], many[:, 0, 0]).rad2deg()
    assert angles[0] == 0
    assert 0 < angles.abs().max() <= 15
    assert 0 < many[:, :, 2].abs().max() <= 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_augmentations": 0}, "n_augmentations must be at least 1 but got 0"),
        ({"iterations": 0}, "iterations must be at least 1 but got 0"),
        ({"scale": 0}, "scale must be at least 1 but got 0"),
        ({"max_rotation": 181}, "max_rotation must be 0 to 180 but got 181"),
        ({"max_shift": -0.1}, "max_shift must be 0 to 1 but got -0.1"),
        ({"tv_weight": float("nan")}, "tv_weight must be at least 0 but got nan"),
        ({"l2_weight": -1}, "l2_weight must be at least 0 but got -1"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        AugmentedGradCAM(**options)

import cv2
import numpy as np
import pytest
import torch

from sess_kernels.smooth import smooth


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (5, 6), (11, 11), (40, 23), (300, 451)])
def test_equals_opencv(size):
    map_ = np.random.default_rng(0).random(size, np.float32)
    expected = cv2.GaussianBlur(map_, (11, 11), 5)
    np.testing.assert_allclose(smooth(torch.tensor(map_)).numpy(), expected, atol=1e-6)

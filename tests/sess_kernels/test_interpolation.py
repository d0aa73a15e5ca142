import pytest
import torch
import torch.nn.functional as F
from skimage import data

from sess_kernels.interpolation import columns_first, enlarge, resize_matrix


@pytest.mark.parametrize(
    ("size", "target"),
    [((1, 1), (1, 1)), ((1, 1), (7, 3)), ((2, 5), (2, 9)), ((5, 2), (11, 2)), ((30, 17), (64, 96))],
)
@pytest.mark.parametrize("arrange", [columns_first, torch.Tensor.contiguous])
def test_enlarging_equals_interpolation_along_both_axes(size, target, arrange):
    image = torch.rand(2, 3, *size)
    found = enlarge(arrange(image), *target)
    expected = F.interpolate(image, target, mode="bilinear", align_corners=False)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_photograph_is_enlarged_to_the_last_digits_of_float32():
    image = torch.from_numpy(data.rocket()).permute(2, 0, 1)[None].float() / 255
    found = enlarge(columns_first(image), 544, 816)
    rows, columns = resize_matrix(427, 544), resize_matrix(640, 816)
    exact = (rows @ image.double() @ columns.T).float()
    # torch computes the places of samples in float32: up to 1e-4 of a pixel at the far end
    torch.testing.assert_close(found, exact, rtol=0, atol=5e-5)


def test_columns_first_changes_the_memory_alone():
    image = torch.rand(1, 3, 4, 6)
    found = columns_first(image)
    assert torch.equal(found, image)
    assert found.stride() == (72, 1, 3, 12)
    assert columns_first(found).data_ptr() == found.data_ptr()

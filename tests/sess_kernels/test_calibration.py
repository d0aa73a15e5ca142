import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sess_kernels.calibration import samples
from sess_kernels.interpolation import resize_matrix


@given(
    source=st.integers(1, 90),
    window=st.integers(1, 40),
    more=st.integers(0, 60),
    share=st.floats(0, 1),
    map_size=st.integers(1, 50),
)
@settings(max_examples=300, deadline=None)
def test_samples_are_both_interpolations(source, window, more, share, map_size):
    """Against the product of the matrices of both, from the map to the canvas, to the source."""
    first, scaled = int(share * more), window + more
    onto_source = resize_matrix(scaled, source).numpy()[:, first : first + window]
    expected = onto_source @ resize_matrix(map_size, window).numpy()
    found = samples(source, scaled, first, window, map_size)
    matrix = np.zeros((source, map_size))
    for column, (indices, weights) in enumerate(zip(found.indices.T, found.weights.T, strict=True)):
        used = indices[weights != 0]
        assert len(set(used.tolist())) == len(used)
        matrix[found.start + column, used] = weights[weights != 0]
    np.testing.assert_allclose(matrix, expected, atol=1e-6)
    assert ((found.indices >= 0) & (found.indices < map_size)).all()

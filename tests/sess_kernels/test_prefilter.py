import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sess_kernels import SESSConfig
from sess_kernels.prefilter import pre_filter, top_classes


@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9]), min_size=1), st.floats(0, 0.99))
def test_keeps_the_best_and_of_equals_the_first(scores, ratio):
    config = SESSConfig(pre_filter_ratio=ratio)
    kept = pre_filter(torch.tensor(scores), config).tolist()
    ranked = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    assert kept == sorted(ranked[: config.kept(len(scores))])


def test_top_classes_by_mean_probability():
    scores = np.random.default_rng(0).dirichlet(np.ones(7), 5)
    expected = np.argsort(-scores.mean(0))[:3].tolist()
    assert top_classes(torch.tensor(scores), 3) == expected

"""Bootstrap intervals beside scipy's."""

import numpy as np
import pytest
import torch
from scipy import stats

from sess_kernels.metrics import bootstrap


def test_intervals_of_a_mean_are_those_of_scipy():
    values = np.random.default_rng(0).normal(3, 2, 200)
    tensor = torch.from_numpy(values)
    found = bootstrap(200, lambda chosen: tensor[chosen].mean().item(), resamples=4000)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(expected.low, abs=0.03)
    assert found.high == pytest.approx(expected.high, abs=0.03)


def test_choices_without_a_figure_are_left_out():
    values = torch.tensor([1.0, 3.0, torch.nan])
    found = bootstrap(3, lambda chosen: values[chosen].nanmean().item())
    assert found == (2, 1, 3)


def test_a_paired_difference_is_surer_than_its_parts():
    draw = torch.Generator().manual_seed(0)
    one = torch.randn(100, generator=draw)
    other = one + 0.1
    paired = bootstrap(100, lambda c: (other[c].mean() - one[c].mean()).item())
    alone = bootstrap(100, lambda c: one[c].mean().item())
    assert paired.high - paired.low < 1e-5 < alone.high - alone.low

"""Bootstrap intervals beside scipy's."""

import numpy as np
import pytest
import torch
from scipy import stats

from sess_kernels.metrics import PoissonBootstrap, bootstrap
from sess_kernels.metrics.intervals import poisson_counts


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


def _ids(n, of=""):
    return [f"{of}{number}.jpg" for number in range(n)]


def _mean(sums):
    return sums[:, 0, 0] / sums[:, 0, 1]


def _of_values(values, ids=None, resamples=1000):
    """Sums of values and of how many there are."""
    sums = PoissonBootstrap(1, 2, resamples)
    table = torch.stack([values, torch.ones_like(values)], 1)
    sums.add(ids or _ids(len(values)), None, table)
    return sums


def test_counts_are_those_of_poisson():
    counts = poisson_counts(_ids(500), 400)
    assert counts[:, 0].eq(1).all()
    drawn = counts[:, 1:].flatten().long()
    expected = stats.poisson(1).pmf(np.arange(6)) * len(drawn)
    found = torch.bincount(drawn)[:6].numpy()
    assert stats.chisquare(found, expected * found.sum() / expected.sum()).pvalue > 0.01
    together = np.corrcoef(counts[:20, 1:].numpy()) - np.eye(20)
    assert np.abs(together).max() < 0.25


def test_counts_depend_on_the_id_alone():
    one = poisson_counts(["cat.jpg", "dog.jpg", "cat.jpg"], 50)
    assert one[0].equal(one[2])
    assert one[1].equal(poisson_counts(["dog.jpg"], 50)[0])
    assert one[:, :11].equal(poisson_counts(["cat.jpg", "dog.jpg", "cat.jpg"], 10))
    # the same in every process, and in every version of what draws them
    assert one[:2, :7].tolist() == [[1, 0, 4, 0, 1, 0, 2], [1, 1, 0, 1, 1, 0, 0]]
    assert poisson_counts(["a/\u00e9", "\udcff"], 3).shape == (2, 4)


def test_an_interval_of_a_mean_is_as_the_theory_and_as_bootstrap_say():
    values = torch.from_numpy(np.random.default_rng(0).normal(3, 2, 200))
    found = _of_values(values, resamples=4000).interval(_mean)
    resampled = bootstrap(200, lambda chosen: values[chosen].mean().item(), resamples=4000)
    reach = 1.96 * values.std(correction=0).item() / 200**0.5
    assert found.value == pytest.approx(values.mean().item()) == resampled.value
    for low, high in ((resampled.low, resampled.high), (found.value - reach, found.value + reach)):
        assert found.low == pytest.approx(low, abs=0.03)
        assert found.high == pytest.approx(high, abs=0.03)


def test_intervals_hold_the_truth_as_often_as_they_say():
    trials, n, held = 250, 60, 0
    values = torch.from_numpy(np.random.default_rng(0).random((trials, n)) < 0.7).double()
    sums = PoissonBootstrap(trials, 2, resamples=200)
    table = torch.stack([values, torch.ones_like(values)], 2).flatten(0, 1)
    sums.add(_ids(trials * n), torch.arange(trials).repeat_interleave(n), table)
    for trial in range(trials):
        one = sums.interval(lambda sums, trial=trial: sums[:, trial, 0] / sums[:, trial, 1])
        held += one.low <= 0.7 <= one.high
    assert 0.92 < held / trials < 0.98


def test_maps_come_in_any_order_and_from_any_worker():
    table, ids, classes = torch.rand(30, 4).double(), _ids(10) * 3, [0, 2, 1] * 10
    whole = PoissonBootstrap(3, 4, 50)
    whole.add(ids, classes, table)
    parts = [PoissonBootstrap(3, 4, 50) for _ in range(2)]
    for number, start in enumerate((20, 0, 10)):
        part = slice(start, start + 10)
        parts[number % 2].add(ids[part], classes[part], table[part])
    parts[0].merge(parts[1])
    assert parts[0].sums.allclose(whole.sums)
    expected = torch.zeros(3, 4).double().index_add(0, torch.tensor(classes), table)
    assert whole.sums[0].allclose(expected)
    counts = poisson_counts(ids, 50)[:, 7]
    by_hand = (
        torch.zeros(3, 4).double().index_add(0, torch.tensor(classes), table * counts[:, None])
    )
    assert whole.sums[7].allclose(by_hand)


def test_statistics_of_all_classes_are_weighted_by_image():
    table, sums = torch.rand(5, 3, 4), PoissonBootstrap(3, 4, 20)
    sums.add(_ids(5), None, table)
    expected = torch.einsum("nr,ncs->rcs", poisson_counts(_ids(5), 20), table.double())
    assert sums.sums.allclose(expected)
    sums.add([], None, table[:0])
    assert sums.sums.allclose(expected)


def test_maps_of_an_image_move_together():
    values = torch.from_numpy(np.random.default_rng(0).normal(0, 1, 50))
    alone = _of_values(values).interval(_mean)
    twice = _of_values(values.repeat(2), _ids(50) * 2).interval(_mean)
    assert twice == pytest.approx(alone)


def test_a_paired_difference_of_sums_is_surer_than_its_parts():
    values = torch.from_numpy(np.random.default_rng(0).normal(0, 1, 100))
    one, other = _of_values(values), _of_values(values + 0.1)
    assert other.paired(one, _mean) == pytest.approx((0.1, 0.1, 0.1))
    alone = one.interval(_mean)
    assert alone.high - alone.low > 0.2


def test_figures_by_name_and_resamples_without_one():
    sums = _of_values(torch.tensor([1.0, 3.0]).double(), resamples=200)
    found = sums.intervals(lambda sums: {"mean": _mean(sums), "never": _mean(sums) * torch.nan})
    assert _mean(sums.sums).isnan().any()  # of two images none may be drawn
    assert found["mean"] == sums.interval(_mean) == (2, 1, 3)
    assert all(np.isnan(one) for one in found["never"])


def test_sums_that_do_not_go_together_are_refused():
    sums = PoissonBootstrap(3, 4, 10)
    with pytest.raises(ValueError, match=r"statistics \(2, 4\) or \(2, 3, 4\) but got \(2, 5\)"):
        sums.add(_ids(2), [0, 1], torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"statistics \(2, 4\)"):
        sums.add(_ids(2), [0, 1], torch.zeros(3, 4))
    with pytest.raises(ValueError, match="classes from 0 to 2 but got 1 to 3"):
        sums.add(_ids(2), [1, 3], torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"Expected sums \(11, 3, 4\) but got \(11, 3, 5\)"):
        sums.merge(PoissonBootstrap(3, 5, 10))
    with pytest.raises(ValueError, match="Expected sums"):
        sums.paired(PoissonBootstrap(3, 4, 11), _mean)

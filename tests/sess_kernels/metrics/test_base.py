"""What every class of metrics does alike: torchmetrics' ways, merging, batches, resamples."""

import pickle

import pytest
import torch
import torch.nn.functional as F
from torchmetrics import MetricCollection

from sess_kernels.metrics import (
    CorLoc,
    Localisation,
    MaxBoxAcc,
    PointingGame,
    PoissonBootstrap,
    PseudoMaskIoU,
    PxAP,
)

SIZE = (24, 30)
N = 4
BOXES = [torch.tensor([[2.0 * n, 3, 12 + 2 * n, 15]]) for n in range(N)]
MASKS = torch.stack([torch.zeros(SIZE, dtype=torch.long) for _ in range(N)])
MASKS[:, 3:15, 4:16] = 1
CLASSES = [0, 1, 0, 2]


def _maps(seed=0):
    coarse = torch.rand(N, 1, 5, 6, generator=torch.Generator().manual_seed(seed))
    maps = F.interpolate(coarse, SIZE, mode="bilinear")[:, 0] + MASKS
    return maps / maps.amax((1, 2), keepdim=True)


def _case(name):
    """A metric, the arguments of ``observe`` of N maps, and their classes."""
    maps = _maps()
    return {
        "pointing": (PointingGame(3, tolerance=3), (maps, MASKS.bool()), CLASSES),
        "pointing in boxes": (PointingGame(3), (list(maps), BOXES, [True, False] * 2), CLASSES),
        "max_box_acc": (MaxBoxAcc(), (maps, BOXES), None),
        "largest": (MaxBoxAcc("largest", size=16), (maps, BOXES), None),
        "pxap": (PxAP(), (maps, MASKS), None),
        "localisation": (Localisation(), (maps, BOXES, [True, None, False, True]), None),
        "corloc": (CorLoc(3), (BOXES, [BOXES[2]] * N), CLASSES),
        "miou": (PseudoMaskIoU(3), (maps[:, None], [[0], [1]] * 2, MASKS), None),
    }[name]


NAMES = [
    "pointing",
    "pointing in boxes",
    "max_box_acc",
    "largest",
    "pxap",
    "localisation",
    "corloc",
    "miou",
]


def _part(batch, classes, chosen):
    return [one[chosen] for one in batch], classes and classes[chosen]


def _same(found, expected):
    assert list(found) == list(expected)
    for name, value in found.items():
        assert value.item() == pytest.approx(expected[name].item(), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", NAMES)
def test_batches_are_as_singles_and_as_statistics_added_up(name):
    metric, batch, classes = _case(name)
    metric.update(*batch, class_indices=classes)
    single = _case(name)[0]
    for n in range(N):
        part, of = _part(batch, classes, slice(n, n + 1))
        single.update(*part, class_indices=of)
    assert metric.sums.equal(single.sums)
    observed = torch.stack([metric.observe(*one) for one in zip(*batch, strict=True)])
    assert observed.dtype == torch.float64
    assert observed.equal(metric.observe_batch(*batch))
    rows = observed.sum(0) if observed.ndim == 3 else observed.sum(0, keepdim=True)
    assert (metric.sums if observed.ndim == 3 else metric.sums.sum(0, keepdim=True)).equal(rows)
    _same(metric.compute(), metric.figures(metric.sums))
    assert any(one > 0 for one in metric.compute().values())


@pytest.mark.parametrize("name", NAMES)
def test_workers_are_merged(name):
    whole, batch, classes = _case(name)
    whole.update(*batch, class_indices=classes)
    one, other = _case(name)[0], _case(name)[0]
    for metric, chosen in ((one, slice(0, 2)), (other, slice(2, None))):
        part, of = _part(batch, classes, chosen)
        metric.update(*part, class_indices=of)
    other = pickle.loads(pickle.dumps(other))
    one.merge_state(other)
    assert one.sums.equal(whole.sums)
    _same(one.compute(), whole.compute())


@pytest.mark.parametrize("name", NAMES)
def test_forward_says_the_batch_and_keeps_the_whole(name):
    metric, batch, classes = _case(name)
    first, of_first = _part(batch, classes, slice(0, 2))
    rest, of_rest = _part(batch, classes, slice(2, None))
    metric.update(*first, class_indices=of_first)
    alone = _case(name)[0]
    alone.update(*rest, class_indices=of_rest)
    _same(metric(*rest, class_indices=of_rest), alone.compute())
    whole = _case(name)[0]
    whole.update(*batch, class_indices=classes)
    _same(metric.compute(), whole.compute())
    metric.reset()
    assert metric.sums.eq(0).all()
    metric.update(*rest, class_indices=of_rest)
    _same(metric.compute(), alone.compute())


@pytest.mark.parametrize("name", NAMES)
def test_figures_of_resamples_are_those_of_each(name):
    metric, batch, classes = _case(name)
    statistics = metric.observe_batch(*batch)
    sums = PoissonBootstrap(metric.n_classes, metric.n_statistics, resamples=20)
    sums.add([f"{n}.jpg" for n in range(N)], classes, statistics)
    metric.update(*batch, class_indices=classes)
    assert sums.sums[0].equal(metric.sums)
    for figures in (metric.figures, metric.class_figures):
        together = figures(sums.sums)
        for n, one in enumerate(sums.sums):
            for key, value in figures(one).items():
                assert together[key][n].allclose(value, equal_nan=True)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_map_there_is_no_figure(name):
    metric, batch, _ = _case(name)
    metric.update(*([] for _ in batch))
    assert all(one.isnan() for one in metric.figures(metric.sums).values())
    assert all(one.isnan().all() for one in metric.class_figures(metric.sums).values())


@pytest.mark.parametrize("name", NAMES)
def test_any_device(name, device):
    metric, batch, classes = _case(name)
    metric.update(*batch, class_indices=classes)
    there = _case(name)[0].to(device)

    def moved(one):
        if isinstance(one, torch.Tensor):
            return one.to(device)
        return [moved(row) for row in one] if isinstance(one, list) else one

    there.update(*map(moved, batch), class_indices=classes)
    assert there.sums.device.type == device
    assert there.sums.cpu().equal(metric.sums)
    assert all(value.device.type == device for value in there.compute().values())


def test_metrics_of_one_class_say_figures_of_classes_that_were_kept_apart():
    metric, batch, _ = _case("max_box_acc")
    table = metric.observe_batch(*batch)
    by_class = (
        torch.zeros(3, metric.n_statistics).double().index_add(0, torch.tensor(CLASSES), table)
    )
    metric.update(*batch)
    _same(metric.figures(by_class), metric.compute())
    for name, shares in metric.class_figures(by_class).items():
        weights = torch.tensor([CLASSES.count(n) for n in range(3)]) / N
        assert (shares * weights).sum().item() == pytest.approx(metric.compute()[name].item())


def test_a_collection_takes_them():
    both = MetricCollection([MaxBoxAcc(), Localisation()])
    both.update(_maps(), BOXES)
    assert {"max_box_acc_v2", "gt_known", "top1"} < both.compute().keys()


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (None, "Expected class_indices, as there are 3 classes"),
        ([0, 1], r"Expected 4 class_indices but got \(2,\)"),
        ([0, 1, 2, 3], "Expected classes from 0 to 2 but got 0 to 3"),
        ([0, 1, 2, -1], "Expected classes from 0 to 2 but got -1 to 2"),
    ],
)
def test_classes_that_do_not_go_with_the_maps_are_refused(classes, said):
    metric, batch, _ = _case("pointing")
    with pytest.raises(ValueError, match=said):
        metric.update(*batch, class_indices=classes)
    assert metric.sums.eq(0).all()


def test_arguments_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"as many maps each but got \[4, 2\]"):
        MaxBoxAcc().update(_maps(), BOXES[:2])
    with pytest.raises(ValueError, match="at least 1 class but got 0"):
        PointingGame(0)

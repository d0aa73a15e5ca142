import pytest

from pipeline import Summary
from pipeline.engines import BatchDone, Placement
from pipeline.watch import RunWatch
from sess_kernels import SessError


def batch(images, failed):
    return BatchDone(images, failed, 10 * images, "cpu", 4, 0.0, 1.0)


def test_a_number_of_failed_rows():
    summary = Summary()
    watch = RunWatch(summary, max_errors=3)
    watch.done(batch(5, 3))
    assert watch.stop() is None
    watch.done(batch(5, 1))
    assert watch.stop() == "4 of 10 rows failed, more than --max-errors 3; see `sess status`"
    watch.done(batch(5, 5))
    assert watch.stop().startswith("4 of 10")  # the first reason stays
    assert (summary.images, summary.failed, summary.patches) == (15, 9, 150)


def test_a_percentage_counts_from_a_hundred_rows():
    watch = RunWatch(Summary(), max_errors="12.5%")
    watch.done(batch(99, 99))
    assert watch.stop() is None
    watch.done(batch(1, 0))
    assert watch.stop().startswith("99 of 100 rows failed, more than --max-errors 12.5%")
    watch = RunWatch(Summary(), max_errors="12.5%")
    watch.done(batch(1000, 125))
    assert watch.stop() is None
    watch.done(batch(1, 1))
    assert watch.stop().startswith("126 of 1001")


def test_rows_of_an_earlier_run_do_not_count():
    summary = Summary(resumed=500)
    watch = RunWatch(summary, max_errors=0)
    watch.done(batch(3, 0))
    assert watch.stop() is None
    watch.done(batch(1, 1))
    assert watch.stop().startswith("1 of 4")


def test_a_run_does_not_go_on_with_other_bits():
    placed = []
    place = Placement("cpu", 4, "fused", "as configured", {"saliency": (1, 1)})
    RunWatch(Summary(), "50%", {"device": "cpu", "batch_size": 4}, placed.append).placed(place)
    assert placed == [place]
    watch = RunWatch(Summary(), "50%", {"device": "cuda", "batch_size": 4}, placed.append)
    with pytest.raises(SessError, match="begun with device cuda, but this would go on with cpu"):
        watch.placed(place)
    assert len(placed) == 1

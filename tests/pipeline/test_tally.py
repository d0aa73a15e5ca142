"""What workers on Ray tell the driver, and how often Ray Data looks at them."""

import pytest

from pipeline.engines.base import BatchDone

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def _ray_here():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def tally():
    from pipeline.engines.tally import Tally

    return Tally()


def batch(number):
    return BatchDone(number, 0, 81 * number, "cpu", 8, number / 7, number / 7 + 1)


@ray.remote(max_retries=0)
def tell(tally, number, then=None):
    tally.add(batch(number))
    if then == "die":
        import os

        os._exit(1)
    return tally.stopped()


def test_each_batch_is_taken_once_whatever_became_of_who_told_it(tally):
    assert tally.take() == []
    assert ray.get([tell.remote(tally, number) for number in range(8)]) == [None] * 8
    first = tally.take()
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(tell.remote(tally, 8, "die"))
    second = tally.take()
    assert sorted(first, key=lambda one: one.images) == [batch(number) for number in range(8)]
    assert (second, tally.take()) == ([batch(8)], [])


def test_runs_beside_each_other_do_not_hear_of_each_other(tally):
    other = type(tally)()
    tally.stop("50 % of the rows failed")
    assert ray.get([tell.remote(tally, 1), tell.remote(other, 2)]) == [
        "50 % of the rows failed",
        None,
    ]
    assert (tally.take(), other.take()) == ([batch(1)], [batch(2)])


def test_nothing_stays_in_the_store(tally):
    from ray.experimental.internal_kv import _internal_kv_list

    def kept():
        return _internal_kv_list(b"", namespace=tally._run)

    tally.stop("enough")
    ray.get([tell.remote(tally, number) for number in range(3)])
    assert len(kept()) == 4
    tally.end()
    assert kept() == []
    assert (tally.take(), tally.stopped()) == ([], None)


class Clock:
    """Time that passes by looks of given seconds, and by the rests between them."""

    def __init__(self):
        self.now, self.rests = 100.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.rests.append(seconds)
        self.now += seconds


def test_a_look_is_followed_by_what_is_left_of_its_time(monkeypatch):
    from pipeline.engines import pace

    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    rest = pace.Rest()
    for look in (0.0, 0.0, 0.05, 0.5, 0.2, 0.15):
        clock.now += look
        rest.on_execution_step(None)
    assert clock.rests == pytest.approx([0, 0.2, 0.15, 0, 0, 0.05])


def test_ray_data_rests_after_every_look(monkeypatch):
    from pipeline.engines import pace

    context = ray.data.DataContext()
    of_ray_data = len(context.execution_callback_classes)
    pace.rest(context)
    pace.rest(context)  # a second run of the process
    assert context.execution_callback_classes[of_ray_data:] == [pace.Rest]
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    n_looks = 0

    class Looks(pace.ExecutionCallback):
        def on_execution_step(self, executor):
            nonlocal n_looks
            n_looks += 1

    context.custom_execution_callback_classes.append(Looks)
    with ray.data.DataContext.current(context):
        assert len(ray.data.range(8).map(lambda row: row).take_all()) == 8
    assert len(clock.rests) == n_looks > 0

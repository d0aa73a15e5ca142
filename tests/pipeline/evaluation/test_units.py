"""Units of work on threads and on Ray: every one comes back, whatever dies."""

import os

import pytest

from pipeline import RunConfig
from pipeline.engines.units import map_units
from pipeline.evaluation import EvaluationConfig, evaluate, failed_images
from sess_kernels import SessError

ON_RAY = RunConfig(engine="ray", device="cpu", workers=2)
HERE = RunConfig(engine="local", device="cpu", workers=2)


@pytest.fixture(scope="module")
def ray_here(tmp_path_factory, tiny_net):
    import ray

    folder = tmp_path_factory.mktemp("modules")
    (folder / "tiny_net.py").write_text(tiny_net)
    path = {"env_vars": {"PYTHONPATH": str(folder)}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=path)
    yield
    ray.shutdown()


def build(device):
    def work(unit):
        if unit == "die":
            os._exit(1)
        return f"{unit} on {device}"

    return work


def test_units_come_back_from_threads():
    units = list("abcdefg")
    found = dict(map_units(build, units, HERE))
    assert found == {unit: f"{unit} on cpu" for unit in units}
    assert list(map_units(build, [], HERE)) == []


@pytest.mark.slow
def test_a_unit_that_kills_its_worker_costs_no_other(ray_here):
    units = [*"abcd", "die", *"efgh"]
    found = dict(map_units(build, units, ON_RAY))
    assert set(found) == set(units)
    assert isinstance(found.pop("die"), Exception)
    assert found == {unit: f"{unit} on cpu" for unit in "abcdefgh"}


@pytest.mark.slow
def test_what_a_worker_raises_and_what_hinders_it_from_starting_is_told(ray_here):
    def faulty(device):
        return lambda unit: 1 // unit

    with pytest.raises(ZeroDivisionError):
        list(map_units(faulty, [1, 0], ON_RAY))

    def broken(device):
        raise SessError("weights do not exist; check the path")

    with pytest.raises(SessError, match="weights do not exist; check the path"):
        list(map_units(broken, [1, 2], ON_RAY))


@pytest.mark.slow
def test_ray_finds_what_threads_find(ray_here, make, boxes, tmp_path, photos):
    out = make()
    (photos / "1.png").unlink()
    metrics = ("pointing", "insertion", "localisation")
    found = {}
    for engine in ("local", "ray"):
        config = EvaluationConfig(metric=metrics, engine=engine, workers=1)
        found[engine] = evaluate(out, boxes[0], config, dest=tmp_path / engine)[""]
    assert found["ray"].figures == found["local"].figures
    assert found["ray"].failed == 1
    assert [name for name, _ in failed_images(tmp_path / "ray")] == ["1.png"]

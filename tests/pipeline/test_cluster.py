"""The Ray that a run starts, and one that it does not find."""

import os

import pytest

from pipeline import RunConfig
from pipeline.engines.cluster import cluster
from sess_kernels.errors import SessError

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray")


def test_its_workers_have_the_priority_of_the_run_and_end_with_it():
    with cluster(RunConfig(engine="ray")):
        niceness = ray.remote(num_cpus=0)(lambda: os.nice(0))
        assert ray.get(niceness.remote()) == os.nice(0)
    assert not ray.is_initialized()


@pytest.mark.parametrize("port", [1, 99999])
def test_an_address_where_no_ray_is(port):
    config = RunConfig(engine="ray", address=f"127.0.0.1:{port}")
    with (
        pytest.raises(
            SessError, match=rf"cannot be reached at 127\.0\.0\.1:{port}: .*--engine local"
        ),
        cluster(config),
    ):
        pass

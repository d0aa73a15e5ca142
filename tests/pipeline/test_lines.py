"""Which actors a run on Ray has, and what each of them does."""

import numpy as np
import pytest

from pipeline import RunConfig
from pipeline.engines.base import Job
from pipeline.engines.cluster import Pool
from pipeline.engines.lines import helpers, lines
from pipeline.files import Folder
from pipeline.scheduler import Plan
from pipeline.stages import BackboneSpec

CPU, GPU = {"num_cpus": 0.5}, {"num_gpus": 1.0, "num_cpus": 0.1}


@pytest.fixture
def placed(tmp_path):
    """Actors and their stages for pools of two workers that book something each."""

    def of(names, resources, **settings):
        spec = BackboneSpec("lite0", None)
        plan = Plan(1, 1, 1, 1, 0, "")
        config = RunConfig(**settings)
        job = Job(config, spec, plan, Folder.of(tmp_path), np.zeros(1, np.uint8))
        pools = {name: Pool(1, 2, resources) for name in names}
        found = [
            (one.kind.__name__, [journal.name for _, journal in one.stages])
            for one in lines(job, pools, "cpu")
        ]
        return found, helpers(pools, config).most

    return of


def test_the_number_of_decoders_and_encoders_can_be_given(placed):
    assert placed(["saliency"], GPU, cpu_workers=3)[1] == 3
    assert placed(["saliency"], GPU, cpu_workers="2:5")[1] == 5
    assert placed(["saliency"], CPU, cpu_workers="2:5")[1] == 5
    pools = {"saliency": Pool(1, 2, GPU)}
    assert helpers(pools, RunConfig(cpu_workers="2:5")).least == 2


def test_beside_gpus_cpus_decode_and_encode(placed):
    fused = [("Decode", ["decode"]), ("Saliency", ["saliency"]), ("Encode", ["encode"])]
    assert placed(["saliency"], GPU) == (fused, 8)
    split = [fused[0], ("PreFilter", ["pre-filter"]), *fused[1:]]
    assert placed(["pre-filter", "saliency"], GPU) == (split, 16)


def test_on_cpus_the_backbones_workers_do_all(placed):
    assert placed(["saliency"], CPU) == ([("Saliency", ["decode", "saliency", "encode"])], 1)
    split = [("PreFilter", ["decode", "pre-filter"]), ("Saliency", ["saliency", "encode"])]
    assert placed(["pre-filter", "saliency"], CPU) == (split, 1)

"""A run on another runtime of the forwards."""

import json

import numpy as np
import pytest
import torch

from pipeline import RunConfig, read_maps, run
from pipeline.images import read_rgb
from sess_kernels import SESS, SESSConfig, SessError

FAST = {"engine": "local", "scales": 2, "labels": "predicted", "device": "cpu"}


def test_a_run_on_another_runtime_is_that_of_the_kernel(photo_folder, tmp_path):
    out = tmp_path / "out"
    config = RunConfig(**FAST | {"runtime": "openvino", "map_dtype": "float32", "workers": 1})
    run(str(photo_folder), out, config)
    record = json.loads((out / "run.json").read_text())
    assert record["config"]["runtime"] == "openvino"
    assert "openvino" in record["versions"]
    torch.set_num_threads(config.threads)
    explain = SESS(config=SESSConfig(scales=2), runtime="openvino")
    [cat] = [one for one in read_maps(out) if one.image_id == "cat.jpg"]
    [[expected]] = explain([read_rgb(str(photo_folder / "cat.jpg"))], [None])
    np.testing.assert_array_equal(cat.map, expected.map.numpy())
    with pytest.raises(SessError, match=r"runtime torch \(was openvino\)"):
        run(str(photo_folder), out, RunConfig(**FAST | {"map_dtype": "float32"}))

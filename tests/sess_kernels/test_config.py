import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sess_kernels import ConfigError, SESSConfig
from sess_kernels.errors import unknown


def test_defaults_are_the_papers():
    config = SESSConfig().for_input(224)
    assert (config.scales, config.window_size, config.step_size) == (12, 224, 224)
    assert (config.pre_filter_ratio, config.theta, config.smooth) == (0.0, 0.0, False)


def test_all_faults_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        SESSConfig(scales=-1, pre_filter_ratio=1.0, theta=float("nan"), window_size=-3)
    assert len(caught.value.faults) == 4
    for name in ("scales", "pre_filter_ratio", "theta", "window_size"):
        assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [{"scales": "ten"}, {"scales": True}, {"theta": "x"}, {"pre_filter_ratio": None}],
)
def test_values_of_another_type_are_faults(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        SESSConfig(**values)


@pytest.mark.parametrize("theta", [1e39, 10**400, -0.1, float("inf")])
def test_theta_is_a_float32(theta):
    with pytest.raises(ConfigError, match="theta must be a finite number of at least 0") as caught:
        SESSConfig(theta=theta)
    assert "\n" not in str(caught.value)
    assert SESSConfig(theta=3.4e38).theta == 3.4e38


def test_step_beyond_the_window_would_lose_pixels():
    with pytest.raises(ConfigError, match="step_size must not exceed window_size"):
        SESSConfig(step_size=225).for_input(224)


@given(st.integers(1, 5000), st.floats(0, 1, exclude_max=True))
def test_at_least_one_patch_is_kept(n_patches, ratio):
    kept = SESSConfig(pre_filter_ratio=ratio).kept(n_patches)
    assert 1 <= kept <= n_patches
    assert kept == n_patches - int(n_patches * ratio)


def test_faults_survive_a_process_boundary():
    error = pickle.loads(pickle.dumps(ConfigError(["one", "two"])))
    assert error.faults == ("one", "two")


def test_unknown_names_the_nearest():
    assert "did you mean 'resnet50'" in unknown("backbone", "resnet5o", ["vgg16", "resnet50"])
    assert "did you mean" not in unknown("backbone", "zzz", ["vgg16"])

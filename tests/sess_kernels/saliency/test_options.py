import pytest

from sess_kernels import SessError
from sess_kernels.saliency import METHODS, base_method


@pytest.mark.parametrize(
    ("method", "given", "expected"),
    [
        ("rise", {"n-masks": "50"}, {"n_masks": 50}),
        ("rise", {"n_masks": 50.0, "p": 1 / 4}, {"n_masks": 50, "p": 0.25}),
        ("smoothgrad", {"noise-level": "0.15"}, {"noise_level": 0.15}),
        ("groupcam", {"percentile": "70.6"}, {"percentile": 70.6}),
        ("scorecam", {"max-channels": "none", "align-corners": "true"}, {"align_corners": True}),
        ("scorecam", {"max_channels": "16", "align_corners": False}, {"max_channels": 16}),
        ("extremal-perturbation", {"areas": "0.05,0.1"}, {"areas": (0.05, 0.1)}),
        ("extremal-perturbation", {"areas": [0.1]}, {"areas": (0.1,)}),
        ("extremal-perturbation", {"areas": 0.1}, {"areas": (0.1,)}),
        ("integrated-gradients", {"baseline": "mean"}, {"baseline": "mean"}),
    ],
)
def test_options_are_of_the_types_of_the_fields(method, given, expected):
    found = base_method(method, given)
    assert found == METHODS[method](**expected)
    for name, value in expected.items():
        assert type(getattr(found, name)) is type(value)


@pytest.mark.parametrize(
    ("method", "given", "words"),
    [
        ("rise", {"n_masks": "5.5"}, "option n_masks of method rise must be int but got '5.5'"),
        ("rise", {"seed": "x"}, "option seed of method rise must be int but got 'x'"),
        ("rise", {"p": float("nan")}, "option p of method rise must be float but got nan"),
        ("rise", {"n_masks": True}, "must be int but got True"),
        ("scorecam", {"align_corners": "perhaps"}, "must be bool but got 'perhaps'"),
        ("extremal-perturbation", {"areas": "a,b"}, "got 'a,b'"),
        ("rise", {"n_masks": None}, "got None"),
        ("rise", {"masks": 3}, "unknown option of method rise 'masks'; did you mean 'n_masks'"),
        ("gradcam", {"n": 3}, "unknown option of method gradcam 'n'; it has none"),
        ("rise", {"p": "2"}, "method rise cannot be made: p must be between 0 and 1 but got 2"),
    ],
)
def test_other_values_are_told_in_one_line(method, given, words):
    with pytest.raises(SessError) as caught:
        base_method(method, given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)

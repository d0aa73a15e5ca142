"""Files of weights that say what their classes are and how they score."""

import importlib

import pytest
import torch

from pipeline.stages import BackboneSpec
from pipeline.stages.weights import read_weights
from sess_kernels import SessError

NAMES = ["cat", "dog", "owl", "bat", "ape"]


@pytest.fixture
def state(tiny_backbone):
    module, _, make = tiny_backbone.partition(":")
    return getattr(importlib.import_module(module), make)().state_dict()


@pytest.mark.parametrize(
    ("said", "names", "multi_label"),
    [
        ({}, tuple("01234"), False),
        ({"epoch": 7}, tuple("01234"), False),
        ({"class_names": NAMES}, tuple(NAMES), False),
        ({"class_names": tuple(NAMES), "scores": "softmax"}, tuple(NAMES), False),
        ({"scores": "sigmoid"}, tuple("01234"), True),
    ],
)
def test_a_backbone_is_what_its_file_says(state, tiny_backbone, tmp_path, said, names, multi_label):
    file = str(tmp_path / "w.pt")
    torch.save({"state_dict": state, **said}, file)
    backbone = BackboneSpec(tiny_backbone, file).load()
    assert (backbone.class_names, backbone.multi_label) == (names, multi_label)
    logits = torch.tensor([[-2.0, 0.0, 1.0, 3.0, 0.5]])
    scores = logits.sigmoid() if multi_label else logits.softmax(1)
    torch.testing.assert_close(backbone.scores(logits), scores)


def test_a_plain_state_dict_says_nothing(state, tmp_path):
    torch.save(state, tmp_path / "w.pt")
    found = read_weights(str(tmp_path / "w.pt"))
    assert found.state_dict.keys() == state.keys()
    assert found[1:] == (None, None)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"scores": "sigmoids"}, r"w.pt: unknown scores 'sigmoids'; did you mean 'sigmoid'\?"),
        ({"scores": ["sigmoid"]}, "w.pt: unknown scores"),
        ({"class_names": {"cat": 0}}, "w.pt: class_names must be a list of names"),
        ({"class_names": ["cat", 1]}, "w.pt: class_names must be a list of names"),
        ({"class_names": NAMES[:3]}, "3 class names were given but tiny_net:make has 5 classes"),
        ({"class_names": []}, "0 class names were given but tiny_net:make has 5 classes"),
        ({"state_dict": 3}, "w.pt hold no state dict; save them with"),
    ],
)
def test_what_a_file_may_not_say(state, tiny_backbone, tmp_path, said, why):
    file = str(tmp_path / "w.pt")
    torch.save({"state_dict": state} | said, file)
    with pytest.raises(SessError, match=why):
        BackboneSpec(tiny_backbone, file).load()

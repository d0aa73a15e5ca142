import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.labels import LabelResolver
from pipeline.records import PLAN_SCHEMA
from sess_kernels import SessError

NAMES = ["cat", "dog", "crane", "crane", "Élan", "12"]
LABELS = st.sampled_from(["0", "1", "05", "5", "-0", "cat", "DOG", "élan", "12", "dgo", "crane"])


def resolve(labels, ids=None):
    ids = ids or [f"image {number}" for number in range(len(labels))]
    return LabelResolver(NAMES, "toy")(pa.array(ids), pa.array(labels, pa.list_(pa.string())))


def reference(labels):
    """Classes of one image, one label after the other; ``None`` if one cannot be resolved."""
    found = []
    for label in labels:
        if re.fullmatch("-?[0-9]+", label):
            index = int(label)
            if not 0 <= index < len(NAMES):
                return None
        else:
            same = [n for n, name in enumerate(NAMES) if name.lower() == label.lower()]
            if len(same) != 1:
                return None
            index = same[0]
        if index not in found:
            found.append(index)
    return found or None


@settings(deadline=None)
@given(st.lists(st.lists(LABELS, max_size=5), min_size=1, max_size=20))
def test_labels_become_classes_as_one_by_one(labels):
    expected = [reference(one) for one in labels]
    if None in expected:
        first = expected.index(None)
        with pytest.raises(SessError, match=rf"^image image {first}\b"):
            resolve(labels)
    else:
        assert resolve(labels).to_pylist() == expected


def test_lists_that_are_part_of_others():
    labels = pa.array([["cat"], ["dog", "0", "dog"], None, ["1"]], pa.list_(pa.string()))
    ids = pa.array(["a", "b", "c", "d"])
    resolver = LabelResolver(NAMES, "toy")
    found = resolver(ids.slice(1, 1), labels.slice(1, 1))
    assert found.to_pylist() == [[1, 0]]
    assert found.type == PLAN_SCHEMA.field("labels").type
    with pytest.raises(SessError, match="image c has no label"):
        resolver(ids, labels)
    assert resolver(ids.slice(0, 0), labels.slice(0, 0)).to_pylist() == []


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (["6"], "image i has class index 6 but backbone toy has classes 0 to 5"),
        (["99999999999999999999"], "classes 0 to 5"),
        (["-1"], "classes 0 to 5"),
        (["0", "dgo"], "did you mean 'dog'"),
        (["crane"], r"stands for the indices \[2, 3\]"),
        ([], "has no label; give it one, leave it out, or run with --labels predicted"),
    ],
)
def test_what_cannot_be_resolved(label, said):
    with pytest.raises(SessError, match=said):
        resolve([["0"], label], ["good", "i"])

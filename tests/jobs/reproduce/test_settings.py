import pytest

from jobs.reproduce.cases import cases_of
from jobs.reproduce.experiment import read_experiment
from jobs.reproduce.settings import Data, ReproduceConfig
from sess_kernels import SessError

TABLE3 = read_experiment("table3")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": ("gradcm",)}, "unknown method 'gradcm'; did you mean 'gradcam'"),
        ({"data": ("a", "b"), "truth": ("c",)}, r"once for each data \(2\) but is given 1 times"),
        ({"limit": 0}, "limit must be at least 1 but got 0"),
        ({"weights": "w.pt"}, "weights are those of one backbone"),
        ({"target_layer": "layer4"}, "target_layer is one of a backbone"),
    ],
)
def test_bad_settings(given, said):
    with pytest.raises(SessError, match=said):
        ReproduceConfig(**given)


@pytest.mark.parametrize(
    ("source", "kind", "truth"),
    [
        ("voc:kit?year=2007&split=test&difficult=0", "voc", "voc:kit?year=2007"),
        ("coco:val.json?images=val", "coco", "coco:val.json"),
        ("imagenet:val", "imagenet", None),
        ("list.csv", "table", None),
    ],
)
def test_the_truth_of_a_source(source, kind, truth):
    assert Data.of(source) == Data(source, kind, truth)
    assert Data.of(source, "table:boxes.csv").truth == "table:boxes.csv"


def test_table_3_takes_the_backbones_of_the_source():
    for kind in ("voc", "coco"):
        cases = list(cases_of(TABLE3, ReproduceConfig(), Data("here", kind)))
        assert {case.network.name for case in cases} == {
            f"torchray/vgg16_{kind}",
            f"torchray/resnet50_{kind}",
        }
        assert len(cases) == 2 * (3 * 2 + 3)  # three methods with and without, three baselines
    with pytest.raises(SessError, match="has backbones for coco and voc but data is here"):
        list(cases_of(TABLE3, ReproduceConfig(), Data("here", "table")))
    given = ReproduceConfig(backbone=("lite0",), method=("gradcam", "layercam"))
    cases = list(cases_of(TABLE3, given, Data("here", "table")))
    assert [(case.method.name, case.run.name) for case in cases] == [
        ("gradcam", "without SESS"),
        ("gradcam", "SESS"),
        ("layercam", "without SESS"),
        ("layercam", "SESS"),
    ]


def test_a_backbone_of_the_paper_keeps_its_layer_and_a_baseline_its_options():
    given = ReproduceConfig(backbone=("torchvision/vgg16",), method=("rise",))
    [case] = cases_of(read_experiment("table1"), given, Data("here", "imagenet"))
    config = case.config(given)
    assert (config.target_layer, config.scales) == ("features.29", 0)
    assert config.method_options == {"n_masks": 8000}
    assert config.map_dtype == "float32"


def test_maps_are_shared_where_they_are_the_same_and_not_elsewhere():
    given = ReproduceConfig(backbone=("lite0",))

    def keys(what, settings=given, digest="0"):
        cases = cases_of(read_experiment(what), settings, Data("here", "imagenet"))
        return {case.run.name: case.key(settings, digest) for case in cases}

    assert keys("fig5") == keys("fig6") == keys("weights")
    assert keys("theta")["SESS"] == keys("fig5")["SESS"]
    assert keys("fig5", digest="1")["SESS"] != keys("fig5")["SESS"]
    assert len(set(keys("steps").values())) == 3
    two = ReproduceConfig(backbone=("lite0",), threads=2)
    elsewhere = ReproduceConfig(backbone=("lite0",), engine="local", workers=3)
    assert keys("fig5", two) != keys("fig5") == keys("fig5", elsewhere)


def test_the_command_of_one_table_is_quoted_for_a_shell():
    given = ReproduceConfig(data=("voc:a?b=c",), limit=3, engine="local", out="elsewhere")
    said = "sess reproduce fig5 --data 'voc:a?b=c' --limit 3 --engine local"
    assert given.command("fig5") == said

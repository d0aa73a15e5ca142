import pytest

from jobs.reproduce.experiment import WHATS, read_experiment
from pipeline import RunConfig
from pipeline.evaluation import METRICS
from sess_kernels import SessError
from sess_kernels.saliency import METHODS, base_method

PRINTED = [  # read off the paper by hand: table, case, figures
    ("table1", "gradcam", "torchvision/resnet50", "without SESS", (68.1, 12.1, 56.0)),
    ("table1", "gradcam", "torchvision/vgg16", "SESS", (60.3, 8.1, 52.2)),
    ("table1", "guided-backprop", "torchvision/resnet50", "SESS", (53.0, 12.0, 41.0)),
    ("table1", "groupcam", "torchvision/vgg16", "SESS", (61.1, 8.1, 53.1)),
    ("table2", "gradcam", "torchvision/resnet50", "without SESS", (0.03,)),
    ("table2", "guided-backprop", "torchvision/resnet50", "6 scales, r = 0.99", (0.41,)),
    ("table2", "groupcam", "torchvision/resnet50", "12 scales, r = 0", (16.66,)),
    ("table2", "xrai", "torchvision/resnet50", "without SESS", (42.17,)),
    ("table3", "gradcam", "torchray/resnet50_voc", "SESS", (93.0, 86.1)),
    ("table3", "guided-backprop", "torchray/vgg16_coco", "without SESS", (39.1, 31.4)),
    ("table3", "groupcam", "torchray/resnet50_coco", "SESS", (66.2, 62.3)),
    ("table3", "extremal-perturbation", "torchray/vgg16_voc", "without SESS", (88.0, 76.1)),
    ("table3", "rise", "torchray/resnet50_coco", "without SESS", (54.7, 50.0)),
]


@pytest.mark.parametrize(("what", "method", "backbone", "run", "figures"), PRINTED)
def test_figures_that_the_paper_printed(what, method, backbone, run, figures):
    data = backbone.rpartition("_")[2] if what == "table3" else "imagenet"
    case = {"method": method, "backbone": backbone, "run": run, "data": data}
    found = read_experiment(what).figures_printed(**case)
    assert tuple(found.values()) == figures


def test_nothing_was_printed_for_other_cases():
    case = {"method": "gradcam", "run": "SESS", "data": "voc"}
    assert read_experiment("table1").figures_printed(**case, backbone="lite0") == {}
    coco = "torchray/vgg16_coco"
    assert read_experiment("table3").figures_printed(**case, backbone=coco) == {}


@pytest.mark.parametrize("what", WHATS)
def test_an_experiment_is_whole(what):
    experiment = read_experiment(what)
    names = [run.name for run in experiment.runs]
    assert len(set(names)) == len(names)
    for method in experiment.methods:
        base_method(method.name, method.options)
        assert set(method.runs) <= set(names)
    for run in experiment.runs:
        assert run.against in (None, *names[: names.index(run.name)])
        config = RunConfig(**run.settings)
        assert config.keep_patches or not run.changes()
        for change in run.changes().values():
            RunConfig(**run.settings | change)
    assert set(experiment.metrics) | set(experiment.metrics_with_truth) <= set(METRICS)
    backbones = {one.name for one in experiment.backbones}
    for one in experiment.printed:
        assert one["backbone"] in backbones
        assert one["run"] in names
        assert one["method"] in METHODS


def test_every_case_of_a_table_has_what_was_printed():
    for what, cases in (("table1", 12), ("table2", 24), ("table3", 36)):
        experiment = read_experiment(what)
        keys = {(one["method"], one["backbone"], one["run"]) for one in experiment.printed}
        assert len(keys) == len(experiment.printed) == cases


def test_overall_is_the_difference_in_table_1():
    for one in read_experiment("table1").printed:
        assert one["overall"] == pytest.approx(one["insertion"] - one["deletion"], abs=0.11)


def test_the_papers_settings():
    table1, fig6 = read_experiment("table1"), read_experiment("fig6")
    assert (table1.images, fig6.images, read_experiment("fig5").images) == (5000, 2000, 2000)
    assert table1.runs[1].settings == {"scales": 10, "pre_filter_ratio": 0.9}
    assert fig6.runs[1].vary.values == (*(n / 10 for n in range(10)), 0.99)
    assert [one.target_layer for one in table1.backbones] == ["layer4", "features.29"]
    table3 = read_experiment("table3")
    assert table3.tolerance == 15
    assert table3.runs[1].settings == {"scales": 10, "pre_filter_ratio": 0.99}


def test_an_unknown_one_is_told_with_the_nearest():
    with pytest.raises(SessError, match=r"unknown table or figure 'tabel1'; did you mean 'table1'"):
        read_experiment("tabel1")

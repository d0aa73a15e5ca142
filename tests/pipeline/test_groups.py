import json
from importlib import resources

import pytest
import timm.data
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights
from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights

from pipeline import RunConfig, run
from pipeline.groups import GROUPS, N_OUTPUTS, file_name, made_groups, shipped_groups
from pipeline.groups.__main__ import PAGE, content, main, page, table
from pipeline.read import read_images
from pipeline.stages import BackboneSpec
from pipeline.stages.backbone import read_class_groups, without_outputs
from sess_kernels import SESS, SESSConfig, SessError
from sess_kernels.backbones.loaders import imagenet_classes

RENAMED = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}
NO_COUNTERPART = [
    *("fire hydrant", "giraffe", "suitcase", "frisbee", "snowboard", "kite", "baseball bat"),
    *("baseball glove", "skateboard", "surfboard", "fork", "carrot", "donut", "cake", "scissors"),
    "toothbrush",
]


@pytest.fixture(scope="module")
def timm_names():
    """Names of ImageNet's outputs as timm has them, all of each."""
    info = timm.data.ImageNetInfo("imagenet-1k")
    return [info.index_to_description(index, detailed=False) for index in range(N_OUTPUTS)]


def test_classes_and_their_order_are_those_of_the_datasets():
    voc = DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.meta["categories"]
    coco = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    assert list(shipped_groups("voc20")) == voc[1:]
    assert list(shipped_groups("coco80")) == [name for name in coco[1:] if name != "N/A"]


@pytest.mark.parametrize("name", GROUPS)
def test_files_and_page_are_made_from_the_names(name):
    groups = made_groups(name, imagenet_classes())
    stored = resources.files("pipeline.groups").joinpath(file_name(name)).read_text()
    assert stored == content(groups)
    assert list(json.loads(stored).items()) == list(groups.items())
    text = PAGE.read_text()
    assert page(text, {name: table(groups, imagenet_classes())}) == text
    assert table(groups, imagenet_classes()) in text


@pytest.mark.parametrize("name", GROUPS)
def test_no_output_is_in_two_classes(name):
    whole = [index for outputs in shipped_groups(name).values() for index in outputs]
    assert len(whole) == len(set(whole))
    assert set(whole) <= set(range(N_OUTPUTS))


def test_names_of_the_page_are_those_of_another_library(timm_names):
    for names in map(table, map(shipped_groups, GROUPS), [imagenet_classes()] * 2):
        for cell in (row.split(" | ")[1] for row in names.splitlines()[2:]):
            for told in cell.rstrip(" |").replace(" to ", ", ").split(", "):
                if told != "none":
                    name, _, index = told.rstrip(")").partition(" (")
                    assert name in timm_names[int(index)].split(", ")


RUNS = {
    "dog": (151, "Chihuahua", 268, "Mexican hairless"),
    "cat": (281, "tabby", 285, "Egyptian cat"),
    "bird": (7, "cock", 146, "albatross"),
}


@pytest.mark.parametrize("name", RUNS)
def test_runs_end_where_the_animal_does(name, timm_names):
    first, first_name, last, last_name = RUNS[name]
    outputs = shipped_groups("voc20")[name]
    assert (outputs[0], outputs[-1]) == (first, last)
    assert timm_names[first].split(", ")[0] == first_name
    assert timm_names[last].split(", ")[0] == last_name
    lengths = {"dog": 118, "cat": 5, "bird": 18 + 21 + 20}
    assert len(outputs) == lengths[name]


def test_voc_and_coco_agree():
    voc, coco = shipped_groups("voc20"), shipped_groups("coco80")
    assert {name: coco[RENAMED.get(name, name)] for name in voc} == voc


def test_classes_without_a_counterpart():
    assert without_outputs("voc20") == frozenset()
    places = {str(list(shipped_groups("coco80")).index(name)) for name in NO_COUNTERPART}
    assert without_outputs("coco80") == {*NO_COUNTERPART, *places}
    text = " ".join(PAGE.read_text().split()).replace("kite (ImageNet's kite is the bird)", "kite")
    said = f"{', '.join(NO_COUNTERPART[:-1])} and {NO_COUNTERPART[-1]}"
    assert f"COCO {len(NO_COUNTERPART)}: {said}." in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: tench, goldfsh", "ImageNet has no class 'goldfsh'"),
        ("a: tench\nb: tench .. goldfish", "twice: tench"),
    ],
)
def test_a_wrong_choice_is_told(monkeypatch, text, words):
    monkeypatch.setitem(GROUPS, "toy", text)
    with pytest.raises(ValueError, match=words):
        made_groups("toy", imagenet_classes())


def test_tables_are_printed(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["pipeline.groups"])
    main()
    found = capsys.readouterr().out
    assert "| cow | ox (345), water buffalo (346), bison (347) |" in found
    assert "| giraffe | none |" in found


def test_groups_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "voc20").write_text('{"cat": [1]}')
    assert read_class_groups("voc20")["cat"] == [281, 282, 283, 284, 285]
    assert read_class_groups("./voc20") == {"cat": [1]}
    with pytest.raises(SessError, match=r"unknown class groups 'voc'; did you mean 'voc20'\?"):
        read_class_groups("voc")
    with pytest.raises(SessError, match=r"class groups voc\.json do not exist; check the path"):
        read_class_groups("voc.json")


def test_groups_that_ship_need_their_outputs(tiny_backbone):
    config = RunConfig(backbone=tiny_backbone, class_groups="coco80", engine="local")
    words = "for the 1000 outputs of ImageNet-1k but tiny_net:make has 5; give --class-groups FILE"
    with pytest.raises(SessError, match=words):
        BackboneSpec.of(config).load()


def test_class_indices_are_those_of_the_dataset_and_some_cannot_be_explained(chelsea):
    backbone = BackboneSpec.of(RunConfig(class_groups="coco80")).load()
    groups = shipped_groups("coco80")
    assert backbone.class_names == tuple(groups)
    assert backbone.without_outputs == {list(groups).index(name) for name in NO_COUNTERPART}
    explain, kite = SESS(backbone, config=SESSConfig(scales=1)), list(groups).index("kite")
    with pytest.raises(ValueError, match=rf"class with outputs but {kite} \(kite\) has none"):
        explain([chelsea], [[kite]])
    [found] = explain([chelsea[:224, :224]], [None], top_k=80)
    assert len(found) == 80 - len(NO_COUNTERPART)
    assert not {one.class_index for one in found} & backbone.without_outputs
    assert all(one.map.isfinite().all() for one in found)


def test_a_run_with_them(tmp_path, draw, chelsea):
    from PIL import Image

    Image.fromarray(chelsea).resize((224, 150)).save(tmp_path / "cat.png")
    Image.fromarray(draw(40, 40)).save(tmp_path / "kite.png")
    (tmp_path / "labels.csv").write_text("image,label\ncat.png,cat|kite\nkite.png,kite\n")
    config = RunConfig(class_groups="coco80", scales=1, engine="local")
    run(f"table:{tmp_path}/labels.csv", tmp_path / "out", config)
    [image] = read_images(tmp_path / "out")
    assert [(one.class_index, one.class_name) for one in image.records] == [(15, "cat")]
    assert image.records[0].score > 0.5
    listed = json.loads((tmp_path / "out" / "run.json").read_text())["dataset"]["listed"]
    assert listed["without_outputs"] == {"kite": 2}

"""Pseudo-labels of a run by the truth of PASCAL VOC, on photographs that the test draws."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import jaccard_score

from jobs.bench import bench
from jobs.benchmarks import BENCHMARKS, Setting
from jobs.benchmarks.pseudo_judges import BoxJudge, MaskJudge
from pipeline import RunConfig, run
from pipeline.read import read_images
from pipeline.truth import ClassTruth
from sess_kernels import SessError
from sess_kernels.pseudo import Boxes, MaskConfig, pseudo_mask

TINY = """
import torch
from torch import nn


def make():
    torch.manual_seed(3)
    body = [nn.Conv2d(3, 8, 9, stride=8), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
"""
OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmax>{}</xmax><xmin>{}</xmin>"
    "<ymin>{}</ymin><ymax>{}</ymax></bndbox></object>"
)


def _annotation(folder, name, *objects):
    (folder / "Annotations").mkdir(exist_ok=True)
    text = "".join(OBJECT.format(*one) for one in objects)
    (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{text}</annotation>")


@pytest.fixture(scope="module")
def voc(tmp_path_factory, draw):
    """A run of two images with cat and dog, and their truth."""
    folder = tmp_path_factory.mktemp("voc")
    (folder / "SegmentationClass").mkdir()
    lines = ["image,label"]
    for seed, labels in enumerate(("cat|dog", "cat")):
        Image.fromarray(draw(50, 70, seed)).save(folder / f"{seed}.png")
        lines.append(f"{seed}.png,{labels}")
        truth = np.zeros((50, 70), np.uint8)
        truth[10:40, 10:30], truth[10:40, 40:60], truth[9] = 8, 12, 255
        picture = Image.fromarray(truth).convert("P")
        picture.putdata(truth.ravel().tolist())
        picture.save(folder / "SegmentationClass" / f"{seed}.png")
        _annotation(folder, seed, ("cat", 0, 30, 11, 11, 40), ("dog", 1, 60, 41, 11, 40))
    (folder / "list.csv").write_text("\n".join(lines))
    (folder / "groups.json").write_text(json.dumps({"dog": [0, 1], "cat": [2, 3]}))
    (folder / "tiny_pseudo.py").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        config = RunConfig(
            backbone="tiny_pseudo:make",
            engine="local",
            scales=2,
            map_dtype="float32",
            class_groups=str(folder / "groups.json"),
        )
        run(str(folder / "list.csv"), folder / "out", config)
        yield folder


def test_masks_and_boxes_of_a_run(voc, capsys):
    out = voc / "found.json"
    given = {"source": str(voc / "out"), "truth": f"voc:{voc}"}
    assert bench(what=("pseudo",), out=out, **given) == 0
    rows = {row["what"]: row for row in json.loads(out.read_text())["rows"]}
    base = "Grad-CAM on the whole image"
    assert list(rows) == [
        f"{kind}, {name}{refined}"
        for name in (base, "SESS")
        for kind in ("masks", "boxes")
        for refined in ("", ", pamr, 30 iterations")
    ]
    masks, boxes = rows["masks, SESS"], rows["boxes, SESS"]
    config = MaskConfig(background=masks["background"], normalize=False)
    found, true = [], []
    for image in read_images(voc / "out"):
        maps = torch.from_numpy(np.stack([one.map for one in image.records]))
        classes = [{"cat": 7, "dog": 11}[one.class_name] for one in image.records]
        found.append(pseudo_mask(maps, classes, config).numpy())
        true.append(np.array(Image.open(voc / "SegmentationClass" / f"{image.image_id}")))
    found, true = np.concatenate(found), np.concatenate(true)
    judged = true != 255
    expected = jaccard_score(true[judged], found[judged], labels=[0, 8, 12], average=None)
    ious = [masks["iou"][name] for name in ("background", "cat", "dog")]
    assert ious == pytest.approx(expected)
    assert masks["miou"] == pytest.approx(expected.mean())
    assert masks["miou_at_default"] <= masks["miou"]
    assert masks["masks"] == 2
    # a dog that is difficult need not be found
    assert (boxes["pairs"], boxes["true_boxes"]) == (2, 2)
    assert set(boxes["corloc_of_class"]) == set(boxes["ap50_of_class"]) == {"cat"}
    assert "mIoU" in capsys.readouterr().out


def test_halves_do_not_depend_on_the_order_of_the_images():
    generator = torch.Generator().manual_seed(0)
    images = []
    for number in range(10):
        maps = torch.rand(2, 8, 8, generator=generator)
        true = 8 * (maps[0] > torch.rand(1, generator=generator))
        images.append((f"{number}.png", maps, [7, 11], true))
    rows = []
    for order in (images, images[::2] + images[1::2], images[:4] + images[:3:-1]):
        judge = MaskJudge()
        for image in order:
            judge.add(*image)
        rows.append(judge.row())
    assert rows[0] == rows[1] == rows[2]
    # it is of thresholds that are not the best, or the halves would not differ
    assert 0 < rows[0]["miou_of_halves"] < rows[0]["miou"]


def test_boxes_by_hand():
    judge = BoxJudge()
    true = torch.tensor([[0.0, 0, 10, 10]])
    miss = torch.tensor([[50.0, 50, 60, 60]])
    plain = ClassTruth(true, torch.tensor([False]))
    judge.add(7, Boxes(true, torch.tensor([0.4])), 0.9, plain)
    judge.add(7, Boxes(miss, torch.tensor([0.8])), 0.1, plain)
    judge.add(11, Boxes(true, torch.tensor([0.5])), 0.5, plain)
    row = judge.row()
    assert row["corloc"] == pytest.approx(2 / 3)
    assert row["corloc_of_class"] == {"cat": 0.5, "dog": 1}
    # of two cats one is found: behind a wrong box by the map, before it by the class's score too
    assert row["ap50_of_class"] == {"cat": 0.25, "dog": 1}
    assert row["ap50_by_class_score"] == pytest.approx((0.5 + 1) / 2)
    assert (row["pairs"], row["boxes"], row["true_boxes"]) == (3, 3, 3)


def test_what_lacks_is_told(voc, tmp_path):
    out = str(voc / "out")
    for given, said in (
        ({}, "give --source OUT and --truth voc:DIR"),
        ({"source": out, "truth": f"vic:{voc}"}, "unknown kind of truth 'vic'"),
        ({"source": out, "truth": f"voc:{tmp_path}"}, "holds neither JPEGImages nor"),
        ({"source": str(tmp_path), "truth": f"voc:{voc}"}, "is no OUT of a finished"),
    ):
        with pytest.raises(SessError, match=said):
            BENCHMARKS["pseudo"](Setting(**given))
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(SessError, match="has no image of"):
        BENCHMARKS["pseudo"](Setting(source=out, truth=f"voc:{tmp_path}"))


def test_a_truth_that_makes_no_sense_is_told(voc, tmp_path):
    given = Setting(source=str(voc / "out"), truth=f"voc:{tmp_path}")
    _annotation(tmp_path, "0")
    (tmp_path / "Annotations" / "0.xml").write_text("<annotation>")
    with pytest.raises(SessError, match=r"0\.xml: not an annotation in XML"):
        BENCHMARKS["pseudo"](given)
    (tmp_path / "SegmentationClassAug").mkdir()
    _annotation(tmp_path, "0")
    Image.new("L", (5, 4)).save(tmp_path / "SegmentationClassAug" / "0.png")
    with pytest.raises(SessError, match=r"0\.png has 5x4 pixels but its image has 70x50"):
        BENCHMARKS["pseudo"](given)

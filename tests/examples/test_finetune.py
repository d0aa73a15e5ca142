"""The fine-tuned classifier learns, and its file is all that a run needs to know of it."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score
from torch import nn

from pipeline import RunConfig, read_maps, run
from pipeline.sources.voc import VOC_CLASSES
from sess_kernels import Preprocessing, SessError

EXAMPLE = Path(__file__).parents[2] / "examples" / "finetune"
COLOURS = {"red": (220, 40, 40), "blue": (40, 40, 220)}
QUICK = {"batch_size": 4, "workers": 0, "device": "cpu"}
TINY = "own_classifier:make"
_XML = "<annotation>{}</annotation>"
_OBJECT = "<object><name>{}</name><difficult>{}</difficult></object>"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    yield importlib.import_module("train"), importlib.import_module("labelled_images")
    for name in ("train", "labelled_images"):
        sys.modules.pop(name)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Name of a classifier of three classes that costs next to nothing."""
    folder = tmp_path / "modules"
    folder.mkdir()
    layers = "nn.Conv2d(3, 8, 16, stride=16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()"
    made = f"nn.Sequential({layers}, nn.Linear(8, 3))"
    (folder / "own_classifier.py").write_text(
        f"from torch import nn\n\n\ndef make(n=3):\n    return {made}\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    yield TINY
    sys.modules.pop("own_classifier", None)


@pytest.fixture
def coloured(tmp_path):
    """A table of images that are red, blue, or one beside the other."""
    random, rows = np.random.default_rng(0), ["image,label"]
    for number in range(30):
        names = [["red"], ["blue"], ["red", "blue"]][number % 3]
        pixels = np.concatenate([np.full((40, 30, 3), COLOURS[name]) for name in names], axis=1)
        noisy = (pixels + random.integers(-35, 36, pixels.shape)).astype(np.uint8)
        Image.fromarray(noisy).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{'|'.join(names)}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    return tmp_path / "list.csv"


def _printed(captured):
    """Losses at the beginning and the end, and the mean average precision."""
    losses = re.search(r"^loss (\S+) -> (\S+) in", captured.out, re.MULTILINE)
    precision = re.search(r"^mAP (\S+) on", captured.out, re.MULTILINE)
    return float(losses[1]), float(losses[2]), float(precision[1])


def test_a_classifier_learns_and_a_run_takes_its_file(example, coloured, tmp_path, capsys):
    train, _ = example
    file, out = tmp_path / "new" / "w.pt", tmp_path / "out"
    settings = train.Settings(steps=8, lr=0.05, body_lr=0, **QUICK)
    train.main(str(coloured), out=file, backbone="lite0", settings=settings)
    first, last, precision = _printed(capsys.readouterr())
    assert last < 0.7 * first
    assert precision > 95  # by chance 67
    config = RunConfig(weights=str(file), scales=1, limit=3, engine="local", device="cpu")
    assert run(str(coloured), out, config).failed == 0
    found = {}
    for record in read_maps(out):
        found.setdefault(record.image_id, []).append((record.class_index, record.class_name))
        assert record.score > 0.5  # a softmax could give both of an image no more than a half
        assert record.map.max() > 0
    assert list(found.values()) == [[(1, "red")], [(0, "blue")], [(1, "red"), (0, "blue")]]


@pytest.mark.parametrize("body_lr", [0.0, 0.01])
def test_the_body_learns_unless_its_rate_is_0(example, coloured, tiny, tmp_path, capsys, body_lr):
    train, _ = example
    model = importlib.import_module(tiny.partition(":")[0]).make()
    torch.save(model.state_dict(), tmp_path / "first.pt")
    settings = train.Settings(steps=16, lr=0.1, body_lr=body_lr, **QUICK)
    arguments = {"out": tmp_path / "w.pt", "backbone": tiny, "init": str(tmp_path / "first.pt")}
    train.main(str(coloured), held_out=str(coloured), settings=settings, **arguments)
    first, last, precision = _printed(capsys.readouterr())
    assert last < 0.8 * first
    assert precision > 90
    written = torch.load(tmp_path / "w.pt", weights_only=True)
    assert (written["class_names"], written["scores"]) == (["blue", "red"], "sigmoid")
    same = torch.equal(written["state_dict"]["0.weight"], model.state_dict()["0.weight"])
    assert same == (body_lr == 0)


def test_labels_of_difficult_objects_alone_count_neither_way(example, tiny, tmp_path, draw):
    train, data = example
    for folder in ("JPEGImages", "Annotations"):
        (tmp_path / "VOC" / folder).mkdir(parents=True)
    objects = {
        "a": [("cat", 0), ("dog", 1)],
        "b": [("dog", 0), ("dog", 1)],
        "c": [("cat", 1)],
        "d": [],
    }
    for name, of_image in objects.items():
        Image.fromarray(draw(30, 40)).save(tmp_path / "VOC" / "JPEGImages" / f"{name}.jpg")
        xml = _XML.format("".join(_OBJECT.format(*one) for one in of_image))
        (tmp_path / "VOC" / "Annotations" / f"{name}.xml").write_text(xml)
    expected = [({"cat"}, {"dog"}), ({"dog"}, set()), (set(), {"cat"})]
    for source in (f"voc:{tmp_path / 'VOC'}", str(tmp_path / "VOC")):
        samples, names = data.read_samples(source)
        assert names == list(VOC_CLASSES)
        assert [(one.labels, one.neither) for one in samples] == expected
    images = data.Images(
        samples[2:], {"cat": 0, "dog": 1}, data.transform(Preprocessing(), random=True)
    )
    assert images[0][1].tolist() == [data.NEITHER, 0]
    model = importlib.import_module(tiny.partition(":")[0]).make()
    head = train.with_new_head(model, 2)
    train.train(model, head, images, train.Settings(steps=2, **QUICK))
    assert head.bias[0] == 0 > head.bias[1]


def test_precision_is_that_of_scikit_learn(example, tiny, coloured):
    train, data = example
    samples = data.read_samples(str(coloured))[0]
    samples = [
        one._replace(labels=one.labels - {"red"}, neither=one.labels & {"red"})
        if number % 4 == 0
        else one
        for number, one in enumerate(samples)
    ]
    torch.manual_seed(0)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)).eval()
    classes = {"blue": 0, "red": 1, "green": 2}
    images = data.Images(
        samples, classes, data.transform(Preprocessing(input_size=32), random=False)
    )
    found = train.judge(model, images, train.Settings(**QUICK))
    inputs, targets = (torch.stack(one) for one in zip(*images, strict=True))
    scores = model(inputs).detach().numpy()
    assert list(found) == ["blue", "red"]  # no image is green
    for place, name in enumerate(found):
        known = targets[:, place] != data.NEITHER
        expected = average_precision_score(targets[known, place], scores[known, place])
        assert found[name] == pytest.approx(expected, abs=1e-6)


def test_images_that_cannot_be_read_are_told_and_left_out(
    example, coloured, tiny, tmp_path, capsys
):
    train, _ = example
    (tmp_path / "4.png").write_bytes(b"no image")
    arguments = {"out": tmp_path / "w.pt", "backbone": tiny}
    train.main(str(coloured), settings=train.Settings(steps=5, **QUICK), **arguments)
    assert "4.png is left out: " in capsys.readouterr().err
    for path in tmp_path.glob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(SessError, match="no image can be read; the lines above say why"):
        train.main(str(coloured), settings=train.Settings(steps=5, **QUICK), **arguments)


def test_what_cannot_be_trained_on_is_told(example, coloured, tiny, tmp_path):
    train, data = example
    arguments = {"out": tmp_path / "w.pt", "backbone": tiny, "settings": train.Settings(**QUICK)}
    other = tmp_path / "other.csv"
    other.write_text("image,label\n1.png,bleu\n")
    with pytest.raises(SessError, match=r"1.png: unknown class 'bleu'; did you mean 'blue'"):
        train.main(str(coloured), held_out=str(other), **arguments)
    with pytest.raises(SessError, match="no image has a label"):
        data.read_samples(f"folder:{tmp_path}")
    with pytest.raises(SessError, match="Conv2d has no linear layer to replace"):
        train.with_new_head(nn.Conv2d(3, 3, 3), 2)
    other.write_text("image,label\n1.png,11\n2.png,2|0\n")
    assert data.read_samples(str(other))[1] == [str(index) for index in range(12)]

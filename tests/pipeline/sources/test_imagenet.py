import sys

import numpy as np
import pytest
import scipy.io
from PIL import Image
from timm.data import ImageNetInfo
from torchvision.datasets import imagenet as theirs

from pipeline.sources import Listed, open_source
from sess_kernels import SessError
from sess_kernels.backbones import imagenet_classes

SYNSETS = ImageNetInfo("imagenet-1k").label_names()
NAMES = [f"ILSVRC2012_val_{number:08}.JPEG" for number in (1, 2, 3, 5)]
FILES = {
    "val.txt": "{name} {index}",
    "LOC_val_solution.csv": "{stem},{synset} 1 2 30 40 {synset} 5 6 7 8 ",
    "imagenet_2012_validation_synset_labels.txt": "{synset}",
}
CLASSES = [65, 970, 0, 999, 230]  # of images 1 to 5


def listing(source):
    listed = Listed()
    rows = [row for table in open_source(str(source), listed) for row in table.to_pylist()]
    return {row["image_id"]: row["labels"] for row in rows}, listed


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6)).save(path, "JPEG")


@pytest.fixture
def val(tmp_path):
    """Four of five validation images."""
    for name in NAMES:
        save(tmp_path / "val" / name)
    return tmp_path / "val"


def lines(form, classes=CLASSES):
    stems = [f"ILSVRC2012_val_{number:08}" for number in range(1, len(classes) + 1)]
    return [
        form.format(name=f"{stem}.JPEG", stem=stem, index=index, synset=SYNSETS[index])
        for stem, index in zip(stems, classes, strict=True)
    ]


def write(path, *parts):
    path.write_text("\n".join(parts) + "\n")


def devkit(folder):
    """A devkit whose ids are in another order than the synsets, with inner nodes of the tree."""
    (folder / "data").mkdir(parents=True)
    order = np.random.default_rng(0).permutation(1000)
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O")]
    synsets = np.empty((1001, 1), [*fields, ("num_children", "O")])
    for number, index in enumerate(order, 1):
        synsets[number - 1, 0] = (number, SYNSETS[index], imagenet_classes()[index], "", 0)
    synsets[1000, 0] = (1001, "n00001740", "entity", "", 2)
    scipy.io.savemat(folder / "data" / "meta.mat", {"synsets": synsets})
    ids = [list(order).index(index) + 1 for index in CLASSES]
    truth = folder / "data" / "ILSVRC2012_validation_ground_truth.txt"
    write(truth, *map(str, ids))
    return truth


def test_folders_of_synsets(tmp_path):
    for name in ("n01440764/a.JPEG", "n03126707/b.JPEG", "n15075141/c.JPEG"):
        save(tmp_path / "train" / name)
    labels, listed = listing(f"imagenet:{tmp_path}/train")
    assert labels == {
        "n01440764/a.JPEG": ["0"],
        "n03126707/b.JPEG": ["517"],
        "n15075141/c.JPEG": ["999"],
    }
    assert listed.classes["crane"] == 517  # of the two cranes the machine, as backbones name them
    assert list(listed.classes) == list(imagenet_classes())
    assert listing(f"{tmp_path}/train")[0] == labels  # guessed
    assert listing(f"imagenet:{tmp_path}?split=train")[0] == labels


def test_what_is_no_class_is_named_and_the_rest_goes_on(tmp_path):
    for name in ("n01440764/a.JPEG", "n00000001/b.JPEG", "others/c.JPEG", "stray.JPEG"):
        save(tmp_path / name)
    labels, listed = listing(f"imagenet:{tmp_path}")
    assert labels == {"n01440764/a.JPEG": ["0"]}
    assert listed.faults == [
        f"{tmp_path}/n00000001: is no synset of ImageNet-1k; the folder is left out",
        f"{tmp_path}/others: is no synset of ImageNet-1k; the folder is left out",
        f"{tmp_path}/stray.JPEG: the image is in no class's folder; it is left out",
    ]


@pytest.mark.parametrize("place", ["val", "."])
@pytest.mark.parametrize("name", FILES)
def test_a_flat_folder_and_its_label_file(val, name, place):
    header = ["ImageId,PredictionString"] if name.endswith("csv") else []
    write(val.parent / place / name, *header, *lines(FILES[name]))
    labels, listed = listing(f"imagenet:{val}")
    expected = dict(zip(NAMES, (["65"], ["970"], ["0"], ["230"]), strict=True))
    assert labels == expected
    in_order = name.startswith("imagenet")
    assert listed.n_faults == (0 if in_order else 1)
    if not in_order:
        assert listed.faults[0].endswith(
            f"{name}: 1 of its images are not there "
            f"(ILSVRC2012_val_00000004{'' if header else '.JPEG'}, ...); they are left out"
        )
    assert len(listed.classes) == 1000


def test_the_archive_as_kaggle_packs_it(val):
    save(val.parent / "ILSVRC/Data/CLS-LOC/val" / NAMES[0])
    name = "LOC_val_solution.csv"
    write(val.parent / name, "ImageId,PredictionString", *lines(FILES[name]))
    labels, _ = listing(f"imagenet:{val.parent}?split=val")
    assert labels.keys() == {*NAMES}  # a folder of that name right there comes first
    labels, _ = listing(f"imagenet:{val.parent}/ILSVRC/Data/CLS-LOC/val?labels={val.parent}/{name}")
    assert labels == {NAMES[0]: ["65"]}


def test_the_ground_truth_of_the_devkit_as_torchvision_reads_it(val, tmp_path, monkeypatch):
    root = tmp_path / "ILSVRC2012_devkit_t12"
    truth = devkit(root)
    monkeypatch.setattr(theirs, "_verify_archive", lambda *_: None)
    monkeypatch.setattr(theirs, "extract_archive", lambda _, to: root.rename(f"{to}/{root.name}"))
    labels, listed = listing(f"imagenet:{val}?labels={truth}")
    elsewhere = tmp_path / "meta.mat"
    elsewhere.write_bytes((root / "data" / "meta.mat").read_bytes())
    write(tmp_path / "truth.txt", truth.read_text().strip())
    theirs.parse_devkit_archive(str(tmp_path), str(root))  # moves the devkit away
    names, synsets = theirs.load_meta_file(str(tmp_path))
    assert len(names) == 1000
    expected = {name: synsets[int(name[15:23]) - 1] for name in NAMES}
    assert {name: SYNSETS[int(label)] for name, [label] in labels.items()} == expected
    assert [labels[name] for name in NAMES] == [["65"], ["970"], ["0"], ["230"]]
    assert listed.n_faults == 0
    again, _ = listing(f"imagenet:{val}?labels={tmp_path}/truth.txt&meta={elsewhere}")
    assert again == labels
    elsewhere.unlink()
    with pytest.raises(SessError, match=r"truth.txt holds ILSVRC2012 ids, .*give .*\?meta=FILE"):
        listing(f"imagenet:{val}?labels={tmp_path}/truth.txt")
    elsewhere.write_text("no matrix")
    with pytest.raises(SessError, match=r"meta.mat cannot be read"):
        listing(f"imagenet:{val}?labels={tmp_path}/truth.txt")
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(SessError, match="is read with SciPy: pip install scipy"):
        listing(f"imagenet:{val}?labels={tmp_path}/truth.txt")


def test_lines_that_make_no_sense_are_named_and_the_rest_goes_on(val):
    file = val / "val.txt"
    first, *rest = NAMES
    write(
        file, f"{first} 65", f"{rest[0]} 1001", f"{rest[1]} n99999999", f"{rest[2]}", f"{first} 7"
    )
    labels, listed = listing(f"imagenet:{val}")
    assert labels == dict(zip(NAMES, (["65"], [], [], []), strict=True))
    lost = "is no class of ImageNet-1k; the image has no label"
    assert listed.faults == [
        f"{file}: line 2: '{rest[0]} 1001' {lost}",
        f"{file}: line 3: '{rest[1]} n99999999' {lost}",
        f"{file}: line 4: '{rest[2]}' {lost}",
        f"{file}: line 5: {first} was listed before; the line is left out",
    ]


def test_images_of_other_names_need_a_line_each(val):
    save(val / "photo.jpg")
    name = "imagenet_2012_validation_synset_labels.txt"
    write(val / name, *lines("{synset}"))
    labels, _ = listing(f"imagenet:{val}")
    assert list(labels.values()) == [[str(index)] for index in CLASSES]
    write(val / name, *lines("{synset}")[:3])
    with pytest.raises(SessError, match=r"has 3 lines for 5 images; it should have one for each"):
        listing(f"imagenet:{val}")


def test_what_cannot_be_read_is_named(val, tmp_path):
    with pytest.raises(SessError, match=r"a flat folder needs a label file; give \?labels=FILE"):
        listing(f"imagenet:{val}")
    with pytest.raises(SessError, match=r"neither folders of synsets .*; choose with \?split=val"):
        listing(f"imagenet:{tmp_path}")
    with pytest.raises(SessError, match=r"has none of the folders test, Data/CLS-LOC/test"):
        listing(f"imagenet:{tmp_path}?split=test")
    with pytest.raises(SessError, match=r"none\.txt does not exist"):
        listing(f"imagenet:{val}?labels={tmp_path}/none.txt")
    write(val / "val.txt", *(f"{name} {1000 - n}" for n, name in enumerate(NAMES)))
    with pytest.raises(SessError, match=r"its numbers are 1 to 1000, but indices are 0 to 999"):
        listing(f"imagenet:{val}")
    (val / "val.txt").write_text("\n")
    with pytest.raises(SessError, match=r"val.txt is empty"):
        listing(f"imagenet:{val}")
    (tmp_path / "classes" / "cat").mkdir(parents=True)
    (tmp_path / "classes" / "n00000001").mkdir()
    with pytest.raises(SessError, match="no folder is a synset of ImageNet-1k; give imagefolder:"):
        listing(f"imagenet:{tmp_path}/classes")

import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from pipeline.sources import Listed, open_source
from sess_kernels import SessError


def listing(source):
    listed = Listed()
    rows = [row for table in open_source(str(source), listed) for row in table.to_pylist()]
    return rows, listed


@pytest.fixture
def photos(tmp_path):
    """Classes whose names sort otherwise as parts of paths ("cat/" and "cat-like/")."""
    folder = tmp_path / "photos"
    for name in ("cat/1.jpg", "cat/deep/er/2.PNG", "cat-like/1.jpg", "Dog/x.jpeg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(folder / name)
    (folder / "cat" / "notes.txt").write_text("no image")
    return folder


def test_classes_and_images_are_those_of_torchvision(photos):
    rows, listed = listing(f"imagefolder:{photos}")
    theirs = ImageFolder(photos)
    assert listed.classes == theirs.class_to_idx == {"Dog": 0, "cat": 1, "cat-like": 2}
    ours = sorted((row["uri"], listed.classes[row["labels"][0]]) for row in rows)
    assert ours == sorted(theirs.samples)
    assert [row["image_id"] for row in rows] == [
        "Dog/x.jpeg",
        "cat/1.jpg",
        "cat/deep/er/2.PNG",
        "cat-like/1.jpg",
    ]
    assert listed.n_faults == 0


def test_a_link_to_a_class_is_followed_and_loops_are_not(photos, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "elsewhere" / "3.png")
    (photos / "bird").symlink_to(tmp_path / "elsewhere")
    (photos / "cat" / "loop").symlink_to(photos)
    (photos / ".ipynb_checkpoints").mkdir()
    rows, listed = listing(f"imagefolder:{photos}")
    assert list(listed.classes) == ["Dog", "bird", "cat", "cat-like"]
    assert [row["image_id"] for row in rows if row["labels"] == ["bird"]] == ["bird/3.png"]
    assert len(rows) == 5


def test_what_belongs_to_no_class_is_named_and_the_rest_goes_on(photos):
    Image.new("RGB", (8, 6)).save(photos / "stray.jpg")
    (photos / "readme.md").write_text("no image")
    (photos / "empty").mkdir()
    rows, listed = listing(f"imagefolder:{photos}")
    assert len(rows) == 4
    assert listed.classes == {"Dog": 0, "cat": 1, "cat-like": 2, "empty": 3}
    assert listed.faults == [
        f"{photos}/stray.jpg: the image is in no class's folder; it is left out",
        f"{photos}/empty: the class's folder holds no image",
    ]


def test_a_folder_without_classes_is_refused(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "1.jpg")
    with pytest.raises(SessError, match=r"no folder for a class; give folder:.* without classes"):
        listing(f"imagefolder:{tmp_path}")
    (tmp_path / "cat").mkdir()
    with pytest.raises(SessError, match="no folder of a class holds an image"):
        listing(f"imagefolder:{tmp_path}")
    with pytest.raises(SessError, match=r"imagefolder:.*none: there is no such folder"):
        listing(f"imagefolder:{tmp_path}/none")


def test_a_folder_of_classes_is_a_folder_unless_said(photos):
    rows, listed = listing(photos)
    assert {row["labels"] for row in rows} == {None}
    assert listed.classes == {}

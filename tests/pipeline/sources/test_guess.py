import pytest

from pipeline.files import Folder
from pipeline.sources import guess, open_source
from sess_kernels import SessError


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("list.csv", "table"),
        ("s3://bucket/list.JSONL", "table"),
        ("list.parquet", "table"),
        ("instances_val2017.json", "coco"),
        ("s3://bucket/ann.json?images=s3://bucket/val.d", "coco"),
        ("train.tar", "wds"),
        ("s3://bucket/train-{0000..0099}.tar", "wds"),
        ("{train,val}.tar.gz", "wds"),
        ("no/such/folder", "folder"),
        ("what://bucket/photos", "folder"),
    ],
)
def test_names(path, kind):
    assert guess(path) == kind


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["JPEGImages/1.jpg", "Annotations/1.xml"], "voc"),
        (["JPEGImages/1.jpg", "labels.csv"], "folder"),
        (["VOC2007/JPEGImages/1.jpg", "devkit_doc.pdf"], "voc"),
        (["VOCdevkit/VOC2012/JPEGImages/1.jpg"], "voc"),
        (["n01440764/1.jpg", "n01443537/1.jpg", "synsets.txt", ".cache/x"], "imagenet"),
        (["n01440764/1.jpg", "cats/1.jpg"], "folder"),
        (["cats/1.jpg", "dogs/1.jpg"], "folder"),
        (["train-0.parquet", "README.md"], "hf"),
        (["data/train-0.parquet", "README.md"], "hf"),
        (["data/1.jpg"], "folder"),
        (["data/deep/1.parquet"], "folder"),
        (["index.parquet", "1.jpg"], "folder"),
        (["0.tar", "1.tar", "sizes.json"], "wds"),
        (["old.tar", "1.jpg"], "folder"),
        ([], "folder"),
    ],
)
def test_folders(tmp_path, names, kind):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert guess(str(tmp_path)) == kind
    assert guess(f"{tmp_path}/?split=val") == kind


def test_options_of_a_path_alone(tmp_path):
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(SessError, match=r"voc:.*unknown option 'spilt'; did you mean 'split'"):
        next(open_source(f"{tmp_path}?spilt=val"))


def test_one_request_to_a_store(store):
    folder = Folder.of("s3://bucket/data")
    for i in range(5):
        folder.write(f"n{i:08}/{i}.jpg", b"x")
    store.reset()
    assert guess("s3://bucket/data") == "imagenet"
    assert len(store.requests) == 1
    assert guess("s3://bucket/none") == "folder"

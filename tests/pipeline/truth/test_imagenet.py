import numpy as np
import pytest

from pipeline.truth import open_truth
from sess_kernels import SessError
from sess_kernels.backbones import imagenet_classes

TENCH, TABBY = "n01440764", "n02123045"  # classes 0 and 281


@pytest.fixture
def annotations(tmp_path, annotate):
    folder = tmp_path / "Annotations" / "CLS-LOC"
    # in 30 pixels the last one is 29
    annotate(folder / "val" / "ILSVRC2012_val_00000001.xml", (TENCH, 0, 29, 0, 0, 9))
    annotate(
        folder / "train" / TABBY / f"{TABBY}_7.xml", (TABBY, 0, 9, 3, 4, 8), (TABBY, 0, 5, 5, 5, 5)
    )
    return tmp_path


def test_corners_count_from_zero_and_include_the_last_pixel(annotations):
    for said in (annotations, f"imagenet:{annotations}/Annotations/CLS-LOC/val"):
        truth = open_truth(str(said), imagenet_classes())
        for image_id in ("ILSVRC2012_val_00000001.JPEG", f"val/{TENCH}/ILSVRC2012_val_00000001"):
            found = truth.of(image_id, (20, 30))
            assert {index: one.boxes.tolist() for index, one in found.classes.items()} == {
                0: [[0, 0, 30, 10]]
            }
            assert found.faults == []
        assert truth.of("ILSVRC2012_val_00000002.JPEG") is None
    train = open_truth(f"imagenet:{annotations}?split=train", imagenet_classes())
    found = train.of(f"{TABBY}/{TABBY}_7.JPEG")
    assert found.classes[281].boxes.tolist() == [[3, 4, 10, 9], [5, 5, 6, 6]]


def test_kaggles_table(tmp_path):
    file = tmp_path / "LOC_val_solution.csv"
    file.write_text(
        "ImageId,PredictionString\n"
        f"ILSVRC2012_val_00000001,{TENCH} 111 108 230 171 {TENCH} 0 0 499 374 \n"
        f"ILSVRC2012_val_00000002,{TABBY} 1 2 3\n"
        "ILSVRC2012_val_00000003,n00000000 1 2 3 4\n"
        f"ILSVRC2012_val_00000004,{TABBY} 1 2 x 4 {TABBY} 1 2 3 4\n"
    )
    for said in (f"imagenet:{tmp_path}", str(file)):
        truth = open_truth(said, imagenet_classes())
        found = truth.of("ILSVRC2012_val_00000001.JPEG", (375, 500))
        assert found.classes[0].boxes.tolist() == [[111, 108, 231, 172], [0, 0, 500, 375]]
        assert found.faults == []
        assert truth.of("ILSVRC2012_val_00000002.JPEG") is None
        assert truth.faults == [f"{file}: line 3 is not IMAGE,SYNSET x y x y ...; it is left out"]
        assert truth.of("ILSVRC2012_val_00000003").others == {"n00000000": 1}
        found = truth.of("ILSVRC2012_val_00000004")
        assert np.array_equal(found.classes[281].boxes, [[1, 2, 4, 5]])
        [fault] = found.faults
        assert fault.startswith(f"{file}: line 5: the box of 'tabby' is no box of four numbers")


def test_what_cannot_be_used_is_told(tmp_path):
    with pytest.raises(SessError, match=r"has none of Annotations/CLS-LOC/val, .*LOC_val_solution"):
        open_truth(f"imagenet:{tmp_path}", imagenet_classes())
    (tmp_path / "LOC_val_solution.csv").write_text(f"a,{TENCH} 1 2 3 4\n")
    with pytest.raises(SessError, match=r"none of its classes \(n01440764\) is one of the run's"):
        open_truth(str(tmp_path), ["cat", "dog"])

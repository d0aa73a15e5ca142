import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pycocotools.mask
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.datasets import CocoDetection

from pipeline.commit import commit
from pipeline.files import Folder
from pipeline.records import RESULT_SCHEMA
from sess_kernels import SessError

BOXES = {  # as the fixture `out` marks them: x, y, width, height
    "a/1.jpg": {("cat", (10, 20, 30, 30))},
    "2.jpg": {("dog", (0, 0, 30, 60)), ("bird", (50, 10, 30, 20)), ("bird", (50, 40, 10, 20))},
    "none.jpg": set(),
}


def boxes_of(coco):
    names = {number: one["file_name"] for number, one in coco.imgs.items()}
    found = {name: set() for name in names.values()}
    for one in coco.anns.values():
        name = coco.cats[one["category_id"]]["name"]
        found[names[one["image_id"]]].add((name, tuple(one["bbox"])))
    return found


def truth_of(path, drawn_boxes, ids, categories):
    """A COCO truth file written without the program."""
    annotations, images = [], []
    for name, boxes in drawn_boxes.items():
        images.append({"id": ids[name], "file_name": name, "height": 60, "width": 80})
        for label, box in boxes:
            one = {"id": len(annotations) + 1, "image_id": ids[name], "bbox": list(box)}
            one |= {"category_id": categories[label], "area": box[2] * box[3], "iscrowd": 0}
            annotations.append(one)
    named = [{"id": number, "name": name} for name, number in categories.items()]
    about = {"info": {}, "images": images, "annotations": annotations, "categories": named}
    path.write_text(json.dumps(about))
    return path


def test_the_dataset_is_what_the_maps_mark(out, exported):
    dest, summary = exported(out, "coco")
    coco = COCO(dest / "instances.json")
    assert boxes_of(coco) == BOXES
    assert [coco.cats[number]["name"] for number in sorted(coco.cats)] == ["bird", "cat", "dog"]
    assert sorted(coco.cats) == [1, 2, 3]
    assert {(one["height"], one["width"]) for one in coco.imgs.values()} == {(60, 80)}
    assert {one["iscrowd"] for one in coco.anns.values()} == {0}
    assert all(one["area"] == one["bbox"][2] * one["bbox"][3] for one in coco.anns.values())
    assert (summary.images, summary.boxes, summary.empty, summary.skipped) == (3, 4, 1, 1)
    assert summary.reasons == ["cut.jpg: image file is truncated"]


def test_cocoeval_of_perfect_maps_gives_an_ap_of_1(out, exported, tmp_path):
    """A coco: source lends its ids, 1 to 90 with gaps as COCO's are."""
    ids, categories = (
        {"2.jpg": 7, "a/1.jpg": 581, "none.jpg": 9},
        {"dog": 18, "cat": 17, "bird": 16},
    )
    truth = truth_of(tmp_path / "truth.json", BOXES, ids, categories)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    run["source"] = f"coco:{truth}?images={tmp_path}/photos"
    (tmp_path / "out" / "run.json").write_text(json.dumps(run))
    dest, _ = exported(out, "coco")
    loaded = COCO(truth)
    evaluation = COCOeval(loaded, loaded.loadRes(str(dest / "results.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[:2].tolist() == [1, 1]
    coco = COCO(dest / "instances.json")
    assert {one["file_name"]: number for number, one in coco.imgs.items()} == ids
    assert {one["name"]: number for number, one in coco.cats.items()} == categories
    assert boxes_of(coco) == BOXES


def test_ids_from_a_file_by_the_last_part_of_the_name(out, exported, tmp_path):
    ids, listed = {"1.jpg": 40, "2.jpg": 50}, {"1.jpg": (), "2.jpg": ()}
    truth = truth_of(tmp_path / "t.json", listed, ids, {"cat": 1, "dog": 2})
    dest, summary = exported(out, "coco", ids_from=str(truth))
    results = json.loads((dest / "results.json").read_text())
    assert {(one["image_id"], one["category_id"]) for one in results} == {(40, 2), (50, 1), (50, 3)}
    assert f"none.jpg: {truth} does not list it" in summary.reasons
    assert "has no category 'bird': categories are numbered from 1" in summary.notes[0]
    with pytest.raises(SessError, match=r"gone\.json, whose ids .* cannot be read"):
        exported(out, "coco", "b", ids_from=str(tmp_path / "gone.json"))
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(SessError, match=r"t\.json is no COCO JSON of images with ids"):
        exported(out, "coco", "b", ids_from=str(truth))


def test_segmentations_are_the_mask_inside_the_box(make_out, drawn, exported):
    out = make_out(drawn("1.png", {1: [(10, 20, 40, 50)], 2: [(10, 20, 20, 30), (60, 0, 70, 9)]}))
    dest, summary = exported(out, "coco", masks=True, background=0.5)
    coco, expected = COCO(dest / "instances.json"), np.zeros((60, 80), np.uint8)
    expected[20:50, 10:40] = 1
    expected[20:30, 10:20] = 0  # where two classes are equal, one of them wins
    masks = {tuple(one["bbox"]): coco.annToMask(one) for one in coco.anns.values()}
    areas = {tuple(one["bbox"]): one["area"] for one in coco.anns.values()}
    assert summary.masks == 1
    assert len(masks) == 3
    whole = masks[10, 20, 30, 30]
    shared = masks[10, 20, 10, 10]  # a box in which its class has won nothing, or all
    assert (whole[expected == 1] == 1).all()
    assert whole.sum() == areas[10, 20, 30, 30] in (800, 900)
    assert shared.sum() == areas[10, 20, 10, 10] == 100
    assert masks[60, 0, 10, 9].sum() == areas[60, 0, 10, 9] == 90
    [lengths] = [
        one["segmentation"] for one in coco.anns.values() if tuple(one["bbox"]) == (60, 0, 10, 9)
    ]
    inside = np.zeros((60, 80), np.uint8, order="F")
    inside[0:9, 60:70] = 1
    assert lengths["counts"].encode() == pycocotools.mask.encode(inside)["counts"]


@pytest.mark.parametrize("images", ["none", "copy", "link"])
def test_torchvision_reads_it_with_its_photographs(out, exported, tmp_path, images):
    dest, _ = exported(out, "coco", images=images)
    root = tmp_path / "photos" if images == "none" else dest / "images"
    dataset = CocoDetection(str(root), str(dest / "instances.json"))
    found = {}
    for (image, boxes), number in zip(dataset, dataset.ids, strict=True):
        name = dataset.coco.imgs[number]["file_name"]
        assert image.size == (80, 60)
        assert (np.asarray(image) == np.asarray(Image.open(tmp_path / "photos" / name))).all()
        found[name] = {tuple(one["bbox"]) for one in boxes}
    assert found == {name: {box for _, box in boxes} for name, boxes in BOXES.items()}


def test_a_photograph_that_exif_turns_is_copied_upright(make_out, drawn, exported, tmp_path):
    out = make_out(drawn("1.jpg", {1: [(10, 20, 40, 50)]}))
    path = tmp_path / "photos" / "1.jpg"
    exif = Image.Exif()
    exif[274] = 6  # to be turned to the right
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
    dest, _ = exported(out, "coco", images="copy")
    copied = Image.open(dest / "images" / "1.jpg")
    assert (copied.size, copied.getexif().get(274, 1)) == ((80, 60), 1)


def test_scores_and_their_least(out, exported, map_scores):
    of_map = map_scores(out)
    of_class = {key: {"a/1.jpg": 0.9, "2.jpg": 0.5}[key[0]] for key in of_map}
    product = {key: of_map[key] * of_class[key] for key in of_map}

    def scores(folder, **settings):
        coco = COCO(exported(out, "coco", folder, **settings)[0] / "instances.json")
        found = {}
        for one in coco.anns.values():
            name, label = coco.imgs[one["image_id"]], coco.cats[one["category_id"]]
            found[name["file_name"], label["name"], *one["bbox"][:2]] = one["score"]
        return found

    assert len(of_map) == 4
    assert scores("a") == pytest.approx(of_map, abs=1e-6)
    assert scores("b", box_score="class") == pytest.approx(of_class, abs=1e-6)
    assert scores("c", box_score="product") == pytest.approx(product, abs=1e-6)
    assert set(scores("d", box_score="class", min_score=0.6)) == {("a/1.jpg", "cat", 10, 20)}
    assert scores("e", box_score="product", min_score=0.99) == {}


def test_ids_without_an_extension_are_found_by_their_files(make_out, drawn, exported, tmp_path):
    out = make_out(drawn("2007_1", {1: []}), drawn("b", {1: []}))
    rows = pq.read_table(f"{out}/maps").to_pylist()
    for row, name in zip(rows, ("JPEGImages/2007_1.jpg", "0.tar#bytes=0-9"), strict=True):
        row["uri"] = f"{tmp_path}/{name}"
    commit(Folder.of(out), "part", pa.Table.from_pylist(rows, RESULT_SCHEMA))
    dest, _ = exported(out, "coco")
    names = [
        one["file_name"] for one in json.loads((dest / "instances.json").read_text())["images"]
    ]
    assert names == ["2007_1.jpg", "b.jpg"]
    images = [{"id": 20071, "file_name": "2007_1.jpg"}, {"id": 5, "file_name": "x/b.jpg"}]
    (tmp_path / "ids.json").write_text(json.dumps({"images": images}))
    _, summary = exported(out, "coco", "b", ids_from=str(tmp_path / "ids.json"))
    assert (summary.images, summary.skipped) == (1, 1)

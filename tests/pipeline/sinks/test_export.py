"""What exports of all formats share."""

import json
import os

import pyarrow.parquet as pq
import pytest

from pipeline import export as exports
from pipeline.commit import commit
from pipeline.export import EXPORTS, export
from pipeline.exports.config import ExportConfig
from pipeline.files import Folder
from sess_kernels import SessError
from sess_kernels.errors import ConfigError

FOLDERS = sorted(set(EXPORTS) - {"fiftyone"})


def test_all_faults_of_the_settings_are_told_together():
    with pytest.raises(ConfigError) as told:
        ExportConfig(box_score="maps", images="move", min_score=-1, limit=0, threads=True)
    assert len(told.value.faults) == 5
    assert "unknown box_score 'maps'; did you mean 'map'?" in told.value.faults[0]
    assert ExportConfig(thresholds=(0.1, 0.2), background=0.4).boxes.thresholds == (0.1, 0.2)
    assert ExportConfig(thresholds=(0.1, 0.2), background=0.4).mask.background == 0.4


@pytest.mark.parametrize("to", FOLDERS)
def test_every_format_again_in_its_place(out, exported, to):
    dest, summary = exported(out, to)
    first = {path: path.read_bytes() for path in dest.rglob("*") if path.is_file()}
    told = json.loads((dest / "export.json").read_text())
    assert (told["state"], told["format"], told["run"]) == ("complete", to, out)
    assert told["summary"]["images"] == summary.images == 3
    (dest / "of an earlier export").write_text("")
    with pytest.raises(SessError, match="labels holds an export; give another, or --overwrite"):
        exported(out, to)
    again = exported(out, to, overwrite=True, threads=1)[0]
    found = {path: path.read_bytes() for path in again.rglob("*") if path.is_file()}
    del first[dest / "export.json"], found[dest / "export.json"]
    assert found == first


def test_folders_of_others_are_left_alone(out, exported, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "mine").write_text("")
    with pytest.raises(SessError, match="is not empty and holds no export; give another"):
        exported(out, "coco", overwrite=True)
    (tmp_path / "export.json").write_text("{}")
    with pytest.raises(SessError, match="is where the run is"):
        exported(out, "coco", "", overwrite=True)
    assert (tmp_path / "labels" / "mine").exists()


def test_a_run_that_is_not_finished(make_out, drawn, exported):
    out = make_out(drawn("1.jpg", {1: []}), drawn("2.jpg", {}, error="gone"), planned=5)
    _, summary = exported(out, "coco")
    assert summary.notes == ["the run is not finished: 2 of 5 images are committed"]
    assert (summary.images, summary.skipped) == (1, 1)
    nothing = make_out(drawn("2.jpg", {}, error="gone"), folder="nothing")
    with pytest.raises(SessError, match="has no maps that are committed"):
        exported(nothing, "coco", "other")


def test_rows_that_come_later_are_left_out(out, exported, monkeypatch):
    """A driver may run: numbers and names are those of what was there when the export began."""
    rows = pq.read_table(f"{out}/maps").to_pylist()
    late = [row | {"image_id": "a.jpg", "row": 9} for row in rows[:1]]
    survey = exports.survey

    def then_more(*arguments):
        found = survey(*arguments)
        commit(Folder.of(out), "aaa", pq.read_table(f"{out}/maps").from_pylist(late))
        return found

    monkeypatch.setattr(exports, "survey", then_more)
    dest, summary = exported(out, "yolo")
    assert summary.images == 3
    assert not (dest / "labels/train/a.txt").exists()


def test_an_export_that_broke_off(out, exported, monkeypatch):
    """It says so, and the next one takes its place."""
    write = Folder.write

    def full(self, name, content, **settings):
        if name.endswith("2.xml"):
            raise OSError(28, os.strerror(28))
        write(self, name, content, **settings)

    monkeypatch.setattr(Folder, "write", full)
    with pytest.raises(SessError, match=r"broke off: .* No space left on device; mend the cause"):
        exported(out, "voc")
    monkeypatch.undo()
    dest, _ = exported(out, "coco")
    assert sorted(path.name for path in dest.iterdir()) == [
        *("export.json", "instances.json", "results.json"),
    ]


def test_the_first_images_alone(out, exported):
    dest, summary = exported(out, "voc", limit=2)
    assert (dest / "ImageSets/Main/train.txt").read_text() == "a/1\n2\n"
    assert (summary.images, summary.notes) == (2, [])


@pytest.mark.parametrize("to", ["coco", "huggingface", "irn"])
def test_to_a_store(store, out, exported, to):
    dest, _ = exported(out, to)
    config = ExportConfig(thresholds=(0.5,), min_area=0.0)
    export(out, to, "s3://bucket/labels", config)
    bucket = Folder.of("s3://bucket/labels")
    for path in dest.rglob("*"):
        if path.is_file() and path.name != "export.json":
            assert bucket.read(str(path.relative_to(dest))) == path.read_bytes()
    with pytest.raises(SessError, match="holds an export"):
        export(out, to, "s3://bucket/labels", config)


def test_links_need_files_on_both_sides(store, out, exported, make_out, drawn):
    with pytest.raises(SessError, match="s3://bucket/l cannot hold links; give --images copy"):
        export(out, "voc", "s3://bucket/l", ExportConfig(images="link"))
    row = pq.read_table(f"{out}/maps").slice(0, 1).to_pylist()[0]
    remote = make_out(drawn("1.jpg", {1: []}), folder="remote")
    table = pq.read_table(f"{out}/maps")
    commit(Folder.of(remote), "part", table.from_pylist([row | {"uri": "s3://b/1.jpg"}]))
    with pytest.raises(SessError, match=r"s3://b/1\.jpg is no file of this machine, so no link"):
        exported(remote, "voc", images="link")

"""A run that goes on where it stopped, and runs that must not go on."""

import json
import sys

import numpy as np
import pytest

from pipeline import RunConfig, plan, read_maps, retry, run, status
from pipeline.commit import done_rows
from pipeline.files import Folder
from pipeline.read import read_rows
from sess_kernels import SessError

FAST = {"engine": "local", "scales": 1, "labels": "predicted", "device": "cpu", "workers": 1}


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr("pipeline.shards.MIN_SHARD_PATCHES", 2)


def _lose(out, n_files):
    """Undo the commit of some files, as if the run had been stopped before them."""
    for name in sorted(path.name for path in (out / "checkpoint").iterdir())[:n_files]:
        (out / "checkpoint" / name).unlink()
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(record | {"state": "running"}))


def test_what_is_committed_is_not_done_again(photo_folder, tmp_path, small_shards):
    out, config = tmp_path / "out", RunConfig(**FAST)
    run(str(photo_folder), out, config)
    whole = {row["image_id"]: row for row in read_rows(out)}
    _lose(out, 2)
    left = status(out)
    assert (left.state, left.images) == ("interrupted", 6)
    assert 0 < done_rows(Folder.of(out), 6)[0].bit_count() < 6
    told = []
    summary = run(str(photo_folder), out, config, on_batch=told.append)
    assert 0 < sum(batch.images for batch in told) < 6
    assert summary.resumed == 6 - sum(batch.images for batch in told)
    assert {row["image_id"]: row for row in read_rows(out)} == whole
    assert status(out).left == 0


def test_a_complete_run_is_left_alone(photo_folder, tmp_path):
    out, config = tmp_path / "out", RunConfig(**FAST)
    first = run(str(photo_folder), out, config)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again = run(str(photo_folder), out, config)
    assert again.was_complete
    assert (again.images, again.failed, again.patches) == (6, 2, first.patches)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_other_settings_and_other_data_are_refused(photo_folder, tmp_path):
    out = tmp_path / "out"
    run(str(photo_folder), out, RunConfig(**FAST))
    for changes, words in (
        ({"scales": 2}, "scales 2 (was 1)"),
        ({"pre_filter_ratio": 0.5, "map_dtype": "float32"}, "pre_filter_ratio 0.5 (was 0.0), "),
        ({"method": "layercam"}, "method layercam (was gradcam)"),
    ):
        with pytest.raises(SessError) as caught:
            run(str(photo_folder), out, RunConfig(**FAST | changes))
        assert words in str(caught.value)
    run(str(photo_folder), out, RunConfig(**FAST | {"workers": 2, "max_errors": 5}))
    (photo_folder / "blocks.bmp").rename(photo_folder / "cubes.bmp")
    with pytest.raises(SessError, match=r"other data: row 0: the source has .*'cat.jpg'.*blocks"):
        run(str(photo_folder), out, RunConfig(**FAST))


def test_changed_bits_are_refused(photo_folder, tmp_path, small_shards):
    out = tmp_path / "out"
    run(str(photo_folder), out, RunConfig(**FAST))
    _lose(out, 1)
    record = json.loads((out / "run.json").read_text())
    record["bits"]["device"] = "cuda"
    (out / "run.json").write_text(json.dumps(record))
    with pytest.raises(SessError, match="begun with device cuda, but this would go on with cpu"):
        run(str(photo_folder), out, RunConfig(**FAST))


def test_a_plan_is_gone_on_with(photo_folder, tmp_path):
    out, config = tmp_path / "out", RunConfig(**FAST)
    planned = plan(str(photo_folder), out, config)
    assert (planned.n_images, planned.n_failed) == (6, 1)
    assert status(out).state == "planned"
    assert list(read_maps(out)) == []
    written = (out / "plan" / planned.files[0]).stat().st_mtime_ns
    assert run(str(photo_folder), out, config).images == 6
    assert (out / "plan" / planned.files[0]).stat().st_mtime_ns == written


def test_retry_does_the_failed_rows_alone(photo_folder, tmp_path, small_shards):
    out = tmp_path / "out"
    whole = (photo_folder / "cat.jpg").read_bytes()
    run(str(photo_folder), out, RunConfig(**FAST | {"format": "parquet,npy"}))
    before = {row["image_id"]: row for row in read_rows(out)}
    (photo_folder / "cut.jpg").write_bytes(whole)
    told = []
    summary = retry(out, on_batch=told.append)
    assert sum(batch.images for batch in told) == 2
    assert (summary.images, summary.failed, summary.resumed) == (6, 1, 4)
    after = {row["image_id"]: row for row in read_rows(out)}
    assert len(after) == len(list(read_rows(out))) == 6
    assert after["cut.jpg"]["status"] == "ok"
    for name in before.keys() - {"cut.jpg"}:
        assert after[name] == before[name]
    maps = {record.image_id: record.map for record in read_maps(out)}
    np.testing.assert_array_equal(maps["cut.jpg"], maps["cat.jpg"])


def test_max_errors_stops_a_run_and_running_again_goes_on(photo_folder, tmp_path, small_shards):
    out = tmp_path / "out"
    for number in range(6):
        (photo_folder / f"a{number}.jpg").write_text("no image")
    strict = RunConfig(**FAST | {"max_errors": 3})
    with pytest.raises(SessError, match=r"[4-6] of [0-9] rows failed, more than --max-errors 3"):
        run(str(photo_folder), out, strict)
    stopped = status(out)
    assert stopped.state == "interrupted"
    assert 0 < stopped.left < 12
    summary = run(str(photo_folder), out, RunConfig(**FAST | {"max_errors": 100}))
    assert (summary.images, summary.failed) == (12, 8)


def test_what_a_killed_driver_left_of_its_first_file_blocks_nobody(photo_folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "..probe.6d288fcc").touch()
    assert run(str(photo_folder), out, RunConfig(**FAST)).images == 6


def test_a_fault_that_is_not_of_out_is_told_as_it_is(photo_folder, tmp_path, monkeypatch):
    def lost(*args):
        raise OSError("AWS Error ACCESS_DENIED")

    monkeypatch.setattr(sys.modules["pipeline.run"], "done_rows", lost)
    with pytest.raises(SessError, match=r"out broke off: AWS Error ACCESS_DENIED; mend the cause"):
        run(str(photo_folder), tmp_path / "out", RunConfig(**FAST))


def test_an_out_without_a_run_has_no_status(tmp_path):
    with pytest.raises(SessError, match="holds no run"):
        status(tmp_path)
    with pytest.raises(SessError, match="holds no run"):
        retry(tmp_path)
